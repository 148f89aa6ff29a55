"""Drift, heat and overhead: what the machine did is told apart from what an operator did."""

from dataclasses import replace
from itertools import count

import pytest

from mtbench.bench.controller.drift import Canary
from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.bench.wire import LatencyBlock, Prepared, ThroughputBlock
from mtbench.plan.accuracy import Errors
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records


@pytest.fixture
def canary():
    """A canary whose timings are each a second after the one before."""
    return Canary(count(0.0).__next__)


def test_a_machine_that_slows_down_drifts_and_one_that_only_jitters_does_not(canary):
    for number in range(60):
        canary.note("gpu", 1, 1000.0 * (1 + 0.001 * number))
        canary.note("cpu", 2, 1000.0 + (7 * number) % 13)
    drifts = canary.drifts()
    assert drifts["gpu"] == pytest.approx(0.059, rel=0.05)
    assert abs(drifts["cpu"]) < 0.002


def test_a_worker_that_was_restarted_fakes_no_drift(canary):
    for worker in (1, 2, 3):
        for _ in range(8):
            canary.note("cpu", worker, 1000.0 * worker)
    assert canary.drifts() == {"cpu": 0.0}


def test_a_drift_above_the_threshold_is_in_the_record_and_the_largest_stays(misbehaving):
    state = JobState(misbehaving("well"))
    state.latency_ns, state.throughput_ns = [[[100] * 5] * 8], [[100.0] * 8]
    sweep = Sweep("s", Protocol(), "m", {})
    state.note_drift(0.01, 0.02)
    assert not any("drifted" in warning for warning in record_of(state, sweep).warnings)
    state.note_drift(-0.05, 0.02)
    state.note_drift(0.01, 0.02)
    record = record_of(state, sweep)
    assert record.canary_drift == -0.05
    assert [warning for warning in record.warnings if "drifted" in warning] == [
        "drifted: the canary changed by -5.0 % over a restart"
    ]


def test_the_drift_of_a_restart_is_in_the_file_of_each_record_which_is_written_once_more(
    misbehaving, brief, control, tmp_path
):
    brief.restarts, brief.looks, brief.target = 2, [5], 1e-9
    written: list[tuple[int, float | None]] = []

    class Listening(Progress):
        def job_recorded(self, record):
            written.append((record.restarts, record.canary_drift))

    controller = control([misbehaving("well")], brief, Listening())
    controller.canary.drifts = iter([{"cpu": 0.05}, {"cpu": 0.08}]).__next__
    controller.peaks.raised = lambda state: False
    ((record,), _) = controller.run(tmp_path)
    assert written == [(1, None), (1, 0.05), (2, 0.05), (2, 0.08)]
    frame, _ = records.read(records.find([tmp_path]))
    assert frame["canary_drift"].to_list() == [record.canary_drift] == [0.08]


def test_what_blocks_took_is_counted_with_the_calls_of_their_own_restart(misbehaving):
    state, sizes = JobState(misbehaving("well")), Prepared(0, 0, Errors(), None, 1.0, 2, 20)
    for calls, call_ns in ((20, 1000.0), (2, 10_000.0)):
        state.note_prepared(replace(sizes, throughput_calls=calls, calls_per_sample=3))
        state.begin_visit()
        state.note_round(LatencyBlock([100, 200]), ThroughputBlock([call_ns, call_ns, 4 * call_ns]))
        state.end_visit()
    assert state.blocks_ns == 2 * (3 * 300 + 40_000)


@pytest.mark.parametrize(("floor_ns", "bound"), [(5.0, False), (20.0, True)])
def test_a_time_that_is_mostly_the_cost_of_calling_says_so(misbehaving, floor_ns, bound):
    state = JobState(misbehaving("well"))
    state.latency_ns, state.throughput_ns = [[[100] * 5] * 8], [[100.0] * 8]
    state.floor_ns = floor_ns
    warnings = record_of(state, Sweep("s", Protocol(), "m", {})).warnings
    assert any(warning.startswith("overhead_bound") for warning in warnings) is bound


@pytest.mark.parametrize(
    ("restarts", "apart"), [([100, 110], None), ([100, 4900], "192 %"), ([100, 100, 100, 100, 4900], None)]
)
def test_restarts_that_disagree_say_so_where_the_interval_does_not(misbehaving, restarts, apart):
    state = JobState(misbehaving("well"))
    state.latency_ns = [[[time] * 5] * 8 for time in restarts]
    state.throughput_ns = [[100.0] * 8 for _ in restarts]
    record = record_of(state, Sweep("s", Protocol(), "m", {}))
    said = [warning for warning in record.warnings if warning.startswith("restarts disagree")]
    assert said == (
        [] if apart is None else [f"restarts disagree: their medians lie {apart} apart, more than is assumed of two"]
    )


def test_outliers_are_counted_and_kept_and_percentiles_wait_for_enough_calls(misbehaving):
    state = JobState(misbehaving("well"))
    blocks = [[100 + number] * 5 for number in range(11)] + [[100_000] * 5]
    state.latency_ns, state.throughput_ns = [blocks], [[100.0] * 12]
    record = record_of(state, Sweep("s", Protocol(), "m", {}))
    assert record.outliers == 1
    assert record.latency_samples_ns == [blocks]
    assert record.latency_p90_ns is None  # 60 calls
    state.latency_ns = [[[100] * 6] * 12]
    record = record_of(state, Sweep("s", Protocol(), "m", {}))
    assert record.latency_p90_ns == 100.0  # 72 calls
    assert record.latency_p99_ns is None
