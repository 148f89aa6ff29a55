"""The Python API: what a notebook does, and that it is the command line's path."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import mtbench
from mtbench.console.terminal import Terminal
from mtbench.errors import ConfigError
from mtbench.machine import processors
from mtbench.plan.jobs import Plan
from mtbench.plan.progress import Extent, Progress
from record_builder import Grid, write_grid

BRIEF = {"restarts": 2, "looks": [6], "block_ms": 1, "warmup_s": 0.01, "warmup_cap_s": 0.3, "peaks": "cached"}


def test_importing_mtbench_loads_nothing_heavy() -> None:
    code = "import sys, mtbench; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "mlx", "polars", "altair", "numpy", "scipy", "hydra", "omegaconf", "rich", "pandas"}
    assert heavy & {name.partition(".")[0] for name in loaded} == set()
    assert "mtbench" in loaded


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> mtbench.Results:
    return mtbench.measure(
        operator="softmax", framework=["numpy", "mlx"], shape={"seq_len": [4, 8]}, params={"embed_dim": 16},
        protocol=BRIEF, folder=tmp_path_factory.mktemp("sweep"),
    )  # fmt: skip


def test_measuring_returns_records_that_are_on_disk_too(measured: mtbench.Results) -> None:
    assert measured.records["status"].to_list() == ["ok"] * 4
    assert sorted(measured.records["seq_len"]) == [4, 4, 8, 8]
    (folder,) = measured.folders
    on_disk = pl.read_parquet(f"{folder}/**/record.parquet")
    assert sorted(on_disk["job_id"]) == sorted(measured.records["job_id"])
    again = mtbench.read(folder)
    assert again.records.drop("path").sort("job_id").equals(measured.records.drop("path").sort("job_id"))
    assert [row.arm for row in measured.rows] == ["numpy", "mlx", "numpy", "mlx"]


def test_the_folder_holds_the_plan(measured: mtbench.Results) -> None:
    made = Plan.from_json((measured.folders[0] / "plan.json").read_text())
    assert {job.id for job in made.jobs} == set(measured.records["job_id"])
    assert made.id == measured.records["sweep_id"][0]


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(processors.cores(processors.usable())) < 2,
    reason="needs Linux and two cores to deal out",
)
def test_a_sweep_is_run_by_the_engine_that_is_given(tmp_path: Path) -> None:
    """Its settings are plain data, as in YAML: this one measures two parts side by side."""
    found = mtbench.measure(
        operator="softmax", framework="numpy", shape={"seq_len": [4, 8]}, params={"embed_dim": 16}, protocol=BRIEF,
        folder=tmp_path / "out", engine={"name": "local", "shards": 2},
    )  # fmt: skip
    assert found.records["status"].to_list() == ["ok"] * 2
    assert sorted(found.records["shard"]) == [0, 1]
    assert not found.interrupted


def test_results_show_themselves_as_the_table_that_ends_a_sweep(measured: mtbench.Results) -> None:
    for text in (repr(measured), measured._repr_html_()):
        assert "softmax float32 batch 1 seq 4" in text
        assert "baseline" in text
        assert "mlx" in text


def test_two_arms_are_compared_by_name_as_the_command_does(measured: mtbench.Results) -> None:
    found = measured.compare("numpy", "mlx")
    assert len(found.rows) == 2
    (folder,) = measured.folders
    command = [sys.executable, "-m", "mtbench", "compare", f"{folder}:numpy", f"{folder}:mlx", "--format", "json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [row.ratio for row in found.rows] == [row["ratio"] for row in said["rows"]]
    with pytest.raises(ConfigError, match="No arm 'mxl'"):
        measured.compare("numpy", "mxl")


def test_the_best_of_each_cell_is_the_fastest(measured: mtbench.Results) -> None:
    best = measured.best()
    assert len(best) == 2
    for one in best:
        cell = measured.records.filter(pl.format("softmax float32 batch 1 seq {}", "seq_len") == one.cell)
        assert one.ns == cell["latency_ns"].min()
        assert one.over is not None
        assert one.over.ratio > 1 or one.over.verdict in ("inconclusive", "equivalent")


def test_answers_are_the_sentences_that_end_a_sweep(measured: mtbench.Results) -> None:
    found = measured.answers()
    assert found.headline == [str(one) for one in found.of("fastest")]
    assert all(line.startswith("Plain shapes, softmax, float32: ") for line in found.headline)
    console = Console(file=io.StringIO(), width=400)
    view = Terminal(console)
    view.sweep_finished(measured.rows, interrupted=False)
    assert all(line in console.file.getvalue() for line in found.headline)  # type: ignore[attr-defined]
    assert str(found).splitlines()[0] == found.headline[0]


def test_charts_are_altairs_and_the_report_is_the_commands(measured: mtbench.Results, tmp_path: Path) -> None:
    import altair

    for kind in ("time", "ratio", "roofline"):
        assert isinstance(measured.chart(kind), altair.TopLevelMixin)
    with pytest.raises(ConfigError, match="No chart 'tim'"):
        measured.chart("tim")
    assert measured.report(tmp_path / "out") == tmp_path / "out" / "index.html"
    assert (tmp_path / "out" / "softmax.html").exists()


def test_the_plan_is_that_of_the_command_line() -> None:
    made = mtbench.make_plan(
        operator=["softmax", "mha"], framework=["torch", "torch_compiled"], dtype=["float32", "bfloat16"],
        shape={"seq_len": 8}, params={"embed_dim": 12, "num_heads": 3}, contenders=["framework", "dtype"],
        protocol="quick",
    )  # fmt: skip
    assert len(made.jobs) == 8
    assert [len(cell) for cell in made.by_cell()] == [4, 4]
    assert made.protocol.restarts == mtbench.make_plan(protocol="quick").protocol.restarts
    assert dict(made.jobs[-1].task.params)["num_heads"] == 3
    experiment = mtbench.make_plan(experiment="which_dtype")
    assert [len(cell) for cell in experiment.by_cell()] == [6, 6]
    whole = mtbench.make_plan(
        experiment="small_lms", framework="torch", model="smollm2_135m", params={"weight_dtype": None}
    )
    assert {dict(job.task.params)["weight_dtype"] for job in whole.jobs} == {None}  # None is a value, and not left out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"operator": "sofmax"}, "No operator 'sofmax'"),
        ({"shape": {"seq_length": 4}}, "Did you mean 'shape.seq_len'"),
        ({"shape": {"seq_len": 0}}, "shape.seq_len=0"),
        ({"protocol": {"restart": 4}}, "Did you mean 'protocol.restarts'"),
        ({"contenders": ["shape.seq_len"]}, "cannot compete"),
        ({"experiment": "quik"}, "Did you mean 'quick'"),
        ({"engine": "slurn"}, "Did you mean 'slurm'"),
        ({"engine": {"shard": 2}}, "Did you mean 'engine.shards'"),
        ({"config_dir": "nowhere"}, "There is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says) as usage_error:
        mtbench.measure(**asked)
    assert "\n" not in str(usage_error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_holds_what_earlier_sweeps_say(tmp_path: Path) -> None:
    write_grid(tmp_path / "before", Grid(("softmax",), ("torch", "mlx"), ("float32",), (1,), tuple(range(1, 11))))
    made = mtbench.make_plan(operator="softmax", framework="numpy", earlier=[tmp_path / "before"])
    (known,) = made.earlier
    assert (known.jobs, known.pairs, known.sweeps) == (20, 10, 1)
    assert type(made).from_json(made.to_json()) == made
    with pytest.raises(ConfigError, match="There is no folder or file nowhere of earlier sweeps"):
        mtbench.make_plan(operator="softmax", framework="numpy", earlier=["nowhere"])
    with pytest.raises(ConfigError, match=r"a list is written in brackets, 'earlier=\[before\]'"):
        mtbench.make_plan(operator="softmax", framework="numpy", overrides=["earlier=before"])
    with pytest.raises(ConfigError, match="earlier applies to the whole sweep and takes one value"):
        mtbench.make_plan(operator="softmax", framework="numpy", overrides=["earlier=a,b"])


def test_there_is_nothing_to_read_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no folder"):
        mtbench.read(tmp_path / "nowhere")
    assert mtbench.read(tmp_path).rows == []
    assert repr(mtbench.read(tmp_path)) == "No records."


OWN = """
import numpy as np


def softmax(w):
    def call(x):
        e = np.exp(x @ w.weight.T - np.max(x @ w.weight.T, axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    return call


def wrong(w):
    return lambda x: x @ w.weight.T


def no_call(w):
    return 3
"""

MODULE = """
import torch


def layer(w):
    linear = torch.nn.Linear(8, 8, bias=False)
    linear.weight.data = w.weight.clone()
    return torch.nn.Sequential(linear, torch.nn.Softmax(-1))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_functions_and_modules_of_ones_own_are_timed_against_each_other(own: Path) -> None:
    contenders = {
        "by hand": "own.py:softmax",
        "layer": "module.py:layer",
        "wrong": "own.py:wrong",
        "none": "own.py:no_call",
    }
    found = mtbench.time(
        contenders, {"x": (3, 8)}, weights={"weight": (8, 8)}, protocol=BRIEF, folder=own / "out",
        framework={"by hand": "numpy", "layer": "torch", "wrong": "numpy", "none": "numpy"},
    )  # fmt: skip
    by_arm = {row.arm: row for row in found.rows}
    assert {arm: row.status for arm, row in by_arm.items()} == {
        "by_hand": "ok",
        "layer": "ok",
        "wrong": "mismatch",
        "none": "failed",
    }
    assert any("checked only against own.py:softmax" in warning for warning in by_arm["layer"].warnings)
    assert by_arm["none"].reason == "no_call in " + str(own / "own.py") + " returned int, which cannot be called."
    assert by_arm["by_hand"].cell_id == by_arm["layer"].cell_id
    assert by_arm["layer"].paired


def test_functions_of_ones_own_are_compiled_as_their_framework_is(own: Path) -> None:
    class Begun(Progress):
        def sweep_started(self, extent: Extent) -> None:
            self.arms = extent.arms
            raise KeyboardInterrupt

    contenders = dict.fromkeys(("graphs", "plain", "eager"), "own.py:softmax")
    libraries = {"graphs": "torch_graphs", "plain": "torch_compiled", "eager": "torch"}
    begun = Begun()
    with pytest.raises(KeyboardInterrupt):
        mtbench.time(contenders, {"x": (3, 8)}, framework=libraries, progress=begun)
    assert [(arm.name, arm.mode, arm.compile.mode) for arm in begun.arms] == [
        ("graphs", "compiled", "reduce-overhead"),
        ("plain", "compiled", None),
        ("eager", "eager", None),
    ]


@pytest.mark.parametrize(
    ("contenders", "says"),
    [
        ({"a": "own.py"}, "does not name a function"),
        ({"a": "nowhere.py:f"}, "There is no file"),
        ({}, "at least one contender"),
    ],
)
def test_what_cannot_be_timed_is_refused_before_anything_is(own: Path, contenders: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        mtbench.time(contenders, {"x": (3, 8)}, framework="numpy")
    assert not (own / "multirun").exists()
