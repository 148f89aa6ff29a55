"""Shards side by side on this machine, for real: on processors of their own, each with a GPU of its own to find, killed and
gone on with. A variable that names GPUs is all that is needed: the shards' workers compute on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from mtbench.engines import shards
from mtbench.engines.settings import EngineSettings
from mtbench.engines.side_by_side import cut, end, gpus, own_processors
from mtbench.errors import ConfigError
from mtbench.launch.commands import app
from mtbench.launch.compose import plan_of
from mtbench.machine import processors
from mtbench.plan.jobs import Plan
from mtbench.results import record as records

CORES = len(processors.cores(processors.usable()))
pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or CORES < 2, reason="needs Linux and two cores to deal out"
)
SWEEP = [
    f"--config-dir={Path(__file__).parent / 'user'}", "operator=softmax", "framework=located", "sweep=none",
    "protocol=quick", "protocol.looks=[3]", "protocol.warmup_cap_s=0.5", "protocol.block_ms=2", "hydra.sweep.dir=out",
]  # fmt: skip
UNDER_TWO_GPUS = {**os.environ, "CUDA_VISIBLE_DEVICES": "5,7", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mtbench", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=UNDER_TWO_GPUS)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def status(folder: Path) -> tuple[int, str]:
    """Of `mtbench status`, which needs no process of its own."""
    shown = CliRunner().invoke(app, ["status", str(folder)])
    return shown.exit_code, shown.output


def read(folder: Path) -> pl.DataFrame:
    frame, problems = records.read(records.find([folder]))
    assert problems == []
    return frame


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("side_by_side")
    arguments = [*SWEEP, "shape.seq_len=1,2,3,4", "protocol.restarts=1", "engine.gpus=all", "-m"]
    code, said = finish(start(*arguments, cwd=folder))
    assert code == 0, said
    return folder / "out", said


def test_each_shard_has_a_gpu_and_processors_of_its_own(side_by_side):
    frame = read(side_by_side[0])
    assert frame["status"].to_list() == ["ok"] * 4
    assert frame["engine"].unique().to_list() == ["local"]
    assert frame["side_by_side"].unique().to_list() == [2]
    places = {(row["shard"], row["library_details"]) for row in frame.iter_rows(named=True)}
    assert len(places) == 2
    first, second = (json.loads(details) for _, details in sorted(places))
    assert (first["visible"], second["visible"]) == ("5", "7")
    assert {first["order"], second["order"]} == {"FASTEST_FIRST"}  # the numbers are in the order that the user has
    own, others = first["processors"].split(), second["processors"].split()
    assert len(own) == len(others) > 0
    assert not set(own) & set(others)


def test_each_shard_measures_the_roof_where_it_is(side_by_side):
    frame = read(side_by_side[0])
    assert frame["peak_bytes_per_s"].null_count() == 0


def test_the_end_shows_all_cells_and_status_shows_the_shards(side_by_side):
    folder, said = side_by_side
    assert "4 records in" in said
    assert "GPU 5" in said
    code, shown = status(folder)
    assert code == 0
    assert "all 4 jobs are done; nothing is left" in shown
    assert [line.split()[1:5] for line in shown.splitlines()[2:] if " of " in line] == [["done", "2", "of", "2"]] * 2


def test_the_same_command_again_measures_nothing(side_by_side):
    folder, _ = side_by_side
    before = {path: path.stat().st_mtime_ns for path in records.find([folder])}
    arguments = [*SWEEP, "shape.seq_len=1,2,3,4", "protocol.restarts=1", "engine.gpus=all", "-m"]
    code, said = finish(start(*arguments, cwd=folder.parent))
    assert code == 0
    assert "all 4 jobs are done" in said
    assert {path: path.stat().st_mtime_ns for path in records.find([folder])} == before


def states(folder: Path) -> list[str | None]:
    found = [shards.read_state(folder, number) for number in (0, 1)]
    return [None if state is None else state.status for state in found]


def both_measure(folder: Path) -> bool:
    return states(folder) == ["running"] * 2 and len(records.find([folder])) >= 2


def test_shards_end_with_whoever_started_them_and_are_gone_on_with(tmp_path):
    arguments = [*SWEEP, "shape.seq_len=1,2,3,4", "protocol.restarts=2", "engine.shards=2", "-m"]
    out = tmp_path / "out"
    process = start(*arguments, cwd=tmp_path)
    deadline = time.monotonic() + 600  # a busy machine starts shards slowly
    while not both_measure(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, finish(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while states(out) != ["interrupted"] * 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert states(out) == ["interrupted"] * 2
    code, shown = status(out)
    assert code == 1
    assert f"Go on: python -m mtbench resume {out}" in shown
    again = start("resume", "out", cwd=tmp_path)
    while states(out) != ["running"] * 2 and again.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    again.send_signal(signal.SIGINT)
    code, said = finish(again)
    assert code == 130, said
    assert "Interrupted; everything measured so far is kept." in said
    assert states(out) == ["interrupted"] * 2
    code, said = finish(start("resume", "out", "engine.together=false", cwd=tmp_path))
    assert code == 0, said
    frame = read(out)
    assert frame["status"].to_list() == ["ok"] * 4
    assert frame["restarts"].to_list() == [2] * 4
    assert frame["sweep_id"].n_unique() == 1
    assert 1 in frame["side_by_side"].to_list()  # those measured last ran one after the other


def test_a_shard_that_ignores_ctrl_c_is_told_and_not_killed():
    """As what a script starts in the background does, and all that it starts."""
    command = ["sh", "-c", "trap '' INT; echo; exec sleep 600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    end([process])
    process.stdout.close()
    assert process.returncode == -signal.SIGTERM


@pytest.fixture
def sweep() -> Plan:
    return plan_of(["operator=softmax", "framework=numpy", "shape.seq_len=1,2,3", "sweep=none"])


def test_one_after_the_other_each_has_the_processors_that_it_would_have_side_by_side(sweep):
    together = cut(sweep, sweep.jobs, EngineSettings("local", shards=2))
    alone = cut(sweep, sweep.jobs, EngineSettings("local", shards=2, together=False))
    assert [one.processors for one in alone] == [one.processors for one in together]
    assert [(one.beside, one.machine_processors) for one in alone] == [(1, None)] * 2
    assert [one.beside for one in together] == [2] * 2
    assert {one.machine_processors for one in together} == {sum(len(one.processors) for one in together)}
    assert cut(sweep, sweep.jobs[:1], EngineSettings("local", shards=2))[0].processors == ()  # nothing beside it


@pytest.mark.parametrize(
    ("visible", "asked", "found"),
    [
        ("5,7", "all", ["5", "7"]),
        ("5,7", [1], ["7"]),
        ("GPU-1,GPU-2", [0, 1], ["GPU-1", "GPU-2"]),
        ("5,7", None, [None]),
    ],
)
def test_gpus_are_counted_among_those_that_are_visible(monkeypatch, visible, asked, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus(EngineSettings("local", gpus=asked)) == found


def test_what_is_not_here_is_said_in_one_line(monkeypatch, sweep):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(ConfigError, match="no GPU 2 here, but 2 GPUs, counted from 0"):
        gpus(EngineSettings("local", gpus=[0, 2]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="no NVIDIA GPU here"):
        gpus(EngineSettings("local", gpus="all"))
    with pytest.raises(ConfigError, match="need as many cores"):
        own_processors(10_000, sweep)
    with pytest.raises(ConfigError, match=r"protocol\.cpus"):
        own_processors(2, replace(sweep, protocol=replace(sweep.protocol, cpus=[0])))
