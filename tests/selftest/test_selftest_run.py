"""The self-test itself, as small as it can be, through real workers; its structure, not its timings."""

import ast
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtbench import selftest
from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.operators.base import Shape
from mtbench.results import selftest as outcome
from mtbench.results.selftest import MISSED, NOT_POSSIBLE
from mtbench.selftest import agreement, goals, run, sweeps, trials
from mtbench.selftest.run import Extent
from mtbench.selftest.trials import Broken, Series
from record_builder import record

TINY = Extent(
    busy_rounds=2,
    twins=Series(restarts=2, rounds=6, cells=2, batches=2, budget_s=0.0),
    more=Series(restarts=1, rounds=3, cells=1, batches=1, budget_s=60.0),
    rival_rounds=6,
    repeated_jobs=2,
    default_jobs=1,
    default_sweeps=2,
)


NO_TORCH = """
import sys


class NoTorch:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


sys.meta_path.insert(0, NoTorch())
"""


@pytest.fixture
def without_torch(monkeypatch, tmp_path) -> None:
    """Workers find no torch, so that NumPy, whose workers start at once, is what measures."""
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def test_every_row_is_measured_through_real_workers(without_torch, tmp_path):
    told: list[str] = []
    kept: list[outcome.Outcome] = []
    made = run.run("cpu", extent=TINY, say=told.append, keep=kept.append)
    assert [len(run.PARTS) - len(one.left_out) for one in kept] == list(range(1, len(run.PARTS) + 1))
    assert kept[-1] == made
    rows = {row.what: row for row in made.rows}
    assert len(rows) == len(made.rows) == len(told) - 1 == 15
    assert made.device == "cpu"
    assert made.library.startswith("numpy")
    assert [row for row in made.rows if row.measured == "failed"] == []
    assert [row.what for row in made.rows if row.verdict == NOT_POSSIBLE] == [
        "agreement with torch.utils.benchmark.Timer",
        "a plain hand-written loop beside the harness",
        "agreement with triton.testing.do_bench in device time",
    ]
    assert all(row.measured for row in made.rows if row.verdict != NOT_POSSIBLE)
    twins = rows["an arm against itself: called different by the test"]
    assert twins.numbers["n"] == 4  # two timings of each of two cells; the budget forbids a second batch
    waited = rows["busy-wait of 10 ms: error of the median"]
    assert waited.numbers["ratio"] >= 1  # it cannot be shorter than it is
    assert waited.numbers["n"] == 2
    assert rows["the controller's own time for each job"].numbers["n"] == 2
    for what in ("time outside warm-up and timed blocks", "time in the checks after the blocks"):
        share = rows[what].numbers
        assert 0 <= share["low"] < share["value"] < min(1, share["high"])
        assert share["sweeps"] == 2
    outcome.write(made, tmp_path / outcome.FILE_NAME)
    assert [row.what for row in outcome.read(tmp_path / outcome.FILE_NAME).rows] == list(rows)


def test_some_parts_alone_say_what_they_leave_out(without_torch):
    made = run.run("cpu", extent=TINY, only=["rivals", "do_bench"])
    assert [row.verdict for row in made.rows] == [NOT_POSSIBLE] * 3
    assert made.left_out == ("busy_wait", "twins", "injected", "twice", "cost")
    assert "without busy_wait, twins, injected, twice, cost" in made.summary


def test_others_time_the_very_call_that_mtbench_times():
    pytest.importorskip("torch")
    ratios = []
    for _ in range(5):  # its threads wait for each other, so some blocks take far longer where other programs run
        found = agreement.beside_softmax("cpu", 6)
        assert set(found) == {"timer", "loop"}
        for comparison, call_ns in found.values():
            assert comparison.pairs == 6
            assert call_ns > 1000
        ratios.append([comparison.ratio for comparison, _ in found.values()])
        if all(0.2 < ratio < 5 for ratio in ratios[-1]):  # the same call
            return
    pytest.fail(f"times of the same call that differ by so much in each try: {ratios}")


def test_do_bench_is_for_cuda():
    pytest.importorskip("torch")
    with pytest.raises(Unsupported, match="cpu"):
        agreement.beside_do_bench("cpu", 6)


@pytest.mark.parametrize("subject", ["busy_wait", "repeated_product"])
def test_a_subject_is_an_ordinary_operator_file(subject):
    operator = registry.load("operator", subject, str(trials.SUBJECTS / f"{subject}.py"))()
    inputs = operator.inputs(np.random.default_rng(0), Shape(2, 3))
    assert [len(values) for values in inputs.values()] == [2]
    assert operator.flops(Shape(2, 3)) > 0
    assert operator.bytes_moved(Shape(2, 3), "float32") > 0


@pytest.mark.parametrize(
    ("variant", "calls"), [("", 100), ("_twin", 100), ("_one_percent_more", 101), ("_three_percent_more", 103)]
)
def test_a_contender_does_as_much_more_work_as_its_name_says(monkeypatch, variant, calls):
    counted = []
    monkeypatch.setattr(np, "matmul", lambda x, weight: counted.append(1) or x @ weight)
    operator = registry.load("operator", "repeated_product", str(trials.SUBJECTS / "repeated_product.py"))(width=4)
    weight = np.eye(4)
    out = getattr(operator, f"numpy{variant}")(SimpleNamespace(weight=weight))(np.ones((1, 2, 4)))
    assert len(counted) == calls
    assert (out == 1).all()


def test_where_time_goes_is_what_the_records_say():
    one = record(
        first_call_ns=1_000_000_000,
        throughput_samples_ns=[[10_000_000.0], [15_000_000.0]],
        warmup_ns=500_000_000,
        protocol=json.dumps({"keep_warm_ms": 50}),
    )
    cost = sweeps.costs([one], 4.0, {"prepare": 1.5, "latency": 0.6, "throughput": 0.5, "start": 1.0}, 1.0)
    assert cost.timed_s == pytest.approx(1.0 + 1.0)
    assert cost.warm_s == pytest.approx(0.5)
    assert cost.outside == pytest.approx(1 - 2.5 / 4)
    assert cost.controller_s == pytest.approx(0.4)
    assert cost.checks == 0
    assert sweeps.costs([one], 4.0, {"finish": 0.6}, 1.0).checks == pytest.approx(0.15)
    assert (
        str(cost) == "start 25 %, controller 10 %, around blocks and warm-up 2.5 %"
    )  # 2.6 s asked, 2.5 s of it measured
    on_gpu = sweeps.costs([replace(one, device="gpu")], 4.0, {}, 1.0)
    assert on_gpu.warm_s == pytest.approx(0.5 + 4 * 0.05)  # two rounds of a latency and a throughput block


def test_sweeps_are_compared_job_by_job():
    one = [record(job_id=name, latency_ns=100.0, throughput_ns=50.0) for name in "ab"]
    times = {"a": (104.0, 47.0), "b": (95.5, 55.0)}
    other = [
        record(job_id=name, sweep_id="second", latency_ns=latency, throughput_ns=throughput)
        for name, (latency, throughput) in times.items()
    ]
    found = sweeps.ratios(one, other)
    assert found == [1.04, 0.94, 0.955, 1.1]
    assert sweeps.different(found) == 2
    with pytest.raises(Broken, match="other jobs"):
        sweeps.ratios(one, other[:1])
    with pytest.raises(Broken, match="no time"):
        sweeps.ratios(one, [replace(each, latency_ns=None) for each in other])


def test_a_sweep_that_is_slower_as_a_whole_is_told_from_jobs_that_differ():
    found = [1.10, 1.11, 1.12, 1.10, 1.25]
    assert sweeps.different(found) == 5
    assert sweeps.moved_together(found) == "the second time +11 % in the median, 1 different beside that"


def test_on_a_gpu_what_the_host_and_the_device_bound_are_told_apart(monkeypatch, tmp_path):
    def sweep(arguments, folder):
        assert {"operator=linear", "shape.batch_size=1,32", "shape.seq_len=range(64,66)"} <= set(arguments)
        host = 100.0 if folder.name == "first" else 150.0
        found = [
            record(
                job_id=f"{size}_{length}", sweep_id=folder.name, batch_size=size, latency_ns=time, throughput_ns=time
            )
            for size, time in ((1, host), (32, 1000.0))
            for length in (64, 65)
        ]
        return found, sweeps.Costs(4, 10.0, 5.0, 4.0, {})

    monkeypatch.setattr(sweeps, "run", sweep)
    on_gpu = replace(run._numpy(), device="gpu")
    extent = replace(TINY, repeated_jobs=4)
    test = run.Test(run.Surroundings(goals.DEDICATED, ""), extent, on_gpu, None, "gpu", tmp_path)
    host, device, _ = run._twice(test)
    assert "bound by the host" in host.what
    assert host.numbers["count"] == host.numbers["n"] == 4
    assert "bound by the device" in device.what
    assert (device.numbers["count"], device.numbers["n"]) == (0, 4)


def test_a_sweep_that_fails_says_why(tmp_path):
    with pytest.raises(Broken, match=r"exit code 2.*No operator 'softmaxx'"):
        sweeps.run(["operator=softmaxx", "framework=numpy", "sweep=none"], tmp_path / "sweep")


def test_what_cannot_be_measured_costs_its_own_rows(tmp_path):
    numpy = run._numpy()
    test = run.Test(run.Surroundings(goals.SHARED, ""), TINY, numpy, "PyTorch is not installed", "cpu", tmp_path)
    assert {row.verdict for row in [*run._rivals(test), *run._do_bench(test)]} == {NOT_POSSIBLE}
    assert all(row.detail == "PyTorch is not installed" for row in run._rivals(test))
    lost = replace(test, library=replace(numpy, library="lost"))
    rows = [*run._twins(lost), *run._more(lost)]
    assert [row.verdict for row in rows] == [MISSED] * 5
    assert all("repeated_product: failed: " in row.detail and "No framework 'lost'" in row.detail for row in rows)


def test_without_torch_numpy_is_compared_with_itself(tmp_path):
    series = Series(restarts=1, rounds=3, cells=1, batches=1, budget_s=60.0)
    found = trials.contenders(run._numpy(), "cpu", ["twin"], series, tmp_path)
    assert len(found.comparisons["twin"]) == 2
    core = f", on processor {max(os.sched_getaffinity(0))} alone" if hasattr(os, "sched_getaffinity") else ""
    assert (
        found.describe(series) == f"1 cell of 3 rounds in 1 restart, each in latency and throughput, in 1 sweep{core}"
    )


def test_nothing_is_special_to_the_self_test_in_what_it_tests():
    """bench/ must not know of it, or it would test something else than what users run."""
    package = Path(selftest.__file__).parents[1]
    for path in sorted((package / "bench").glob("*.py")):
        names = {
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        assert not any(name.startswith("mtbench.selftest") for name in names), path
        assert "selftest" not in path.read_text(), path
