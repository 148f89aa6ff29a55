"""Real workers, measured, killed and misled: what goes wrong costs the job that it belongs to, and nothing else."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from mtbench.bench.controller import memory
from mtbench.bench.controller.energy import Meter
from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.bench.controller.process import Died, Process
from mtbench.bench.controller.workers import Workers
from mtbench.bench.wire import Prepare, Start, TimeLatency
from mtbench.frameworks.base import Settings
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.jobs import Arm, Task, job
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records

PLAIN = str(Path(__file__).parent / "user" / "framework" / "plain.py")


def test_a_sound_job_is_measured_verified_and_recorded(misbehaving, brief, measure, tmp_path):
    job = misbehaving("well")
    outcome = measure([job], brief)
    assert not outcome.interrupted
    (record,) = outcome.records
    assert record.status == "ok"
    assert record.verify_error is not None
    assert record.verify_error < 1e-7
    assert record.rounds == 3
    assert record.restarts == 1
    assert [len(visit) for visit in record.latency_samples_ns] == [3]
    assert all(len(block) == record.calls_per_block for block in record.latency_samples_ns[0])
    assert record.latency_low_ns <= record.latency_ns <= record.latency_high_ns
    assert record.floor_ns > 0
    assert record.first_call_ns > 0
    assert record.peak_bytes > 1e6
    assert (record.flops, record.bytes_moved) == (16, 128)
    frame, problems = records.read([tmp_path / job.folder / records.FILE_NAME])
    assert problems == []
    assert frame["latency_ns"].to_list() == [record.latency_ns]
    assert frame["latency_samples_ns"].to_list() == [record.latency_samples_ns]


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("is killed", "crashed", "SIGKILL"),
        ("exits", "crashed", "goodbye from the library"),
        ("raises", "failed", "ZeroDivisionError: a library's own error"),
        ("exhausts memory", "oom", "MemoryError"),
        ("is unsupported", "unsupported", "not on this machine, for a reason"),
        ("is wrong", "mismatch", "exceeds the tolerance"),
        ("is wrong later", "mismatch", "exceeds the tolerance"),
        ("gives NaN", "mismatch", "NaN"),
        ("gives another shape", "mismatch", "shape"),
        ("gives no array", "mismatch", "str"),
    ],
)
def test_each_failure_has_its_status_and_costs_no_other_job(misbehaving, brief, how, status, reason, measure, tmp_path):
    jobs = [misbehaving(how, seq_len=4), misbehaving("well"), misbehaving(how, seq_len=6), misbehaving("prints")]
    results = measure(jobs, brief).records
    assert [record.status for record in results] == [status, "ok", status, "ok"]
    assert reason in results[0].reason
    for record in (results[0], results[2]):
        assert record.latency_ns is None
    frame, _ = records.read([tmp_path / job.folder / records.FILE_NAME for job in jobs])
    assert sorted(frame["status"]) == sorted([status, "ok", status, "ok"])


class Impatient(Process):
    """Gives a call that hangs a second, and all else as long as it takes on a busy machine."""

    def ask(self, request, timeout_s):
        hangs = isinstance(request, Prepare) and request.params.get("how") == "hangs"
        return super().ask(request, 1 if hangs else timeout_s)


def test_a_worker_that_never_answers_is_killed_and_the_rest_goes_on(misbehaving, brief, control, tmp_path):
    jobs = [misbehaving("hangs"), misbehaving("well")]
    results, _ = control(jobs, brief, start_process=Impatient).run(tmp_path)
    assert [record.status for record in results] == ["timeout", "ok"]
    assert "did not answer within 1 s" in results[0].reason
    assert _workers() == []


class KillOnce(Progress):
    """Ends one arm's worker from outside, in the middle of the first cell's rounds."""

    def __init__(self) -> None:
        self.killed = False

    def round_finished(self, rounds, of, medians_ns):
        if not self.killed:
            self.killed = True
            arm = next(arm for arm in self.controller.workers.alive if arm.framework == "numpy")
            os.kill(self.controller.workers.alive[arm].pid, signal.SIGKILL)


def test_kill_9_in_the_middle_of_a_cell_costs_one_job(misbehaving, brief, control, tmp_path):
    arms = [{}, {"framework": "plain", "framework_file": PLAIN}]
    jobs = [misbehaving("well", seq_len=size, **arm) for size in (4, 8) for arm in arms]
    progress = KillOnce()
    progress.controller = control(jobs, brief, progress)
    results, _ = progress.controller.run(tmp_path)
    assert [record.status for record in results] == ["crashed", "ok", "ok", "ok"]
    assert "SIGKILL" in results[0].reason


class DiesAtItsStart(Process):
    """A worker that is killed while it starts, as often as `times` says."""

    times = 1

    def answer(self, request, timeout_s):
        if isinstance(request, Start) and self.times:
            type(self).times -= 1
            os.kill(self.pid, signal.SIGKILL)
        return super().answer(request, timeout_s)


@pytest.mark.parametrize(("deaths", "status"), [(1, "ok"), (2, "crashed")])
def test_a_worker_that_dies_at_its_start_is_started_once_more(
    misbehaving, brief, control, tmp_path, deaths, status, monkeypatch
):
    monkeypatch.setattr(DiesAtItsStart, "times", deaths)
    ((record,), _) = control([misbehaving("well")], brief, start_process=DiesAtItsStart).run(tmp_path)
    assert record.status == status
    assert _workers() == []


def test_a_death_at_a_later_start_keeps_the_speed_of_earlier_restarts(
    misbehaving, brief, control, tmp_path, monkeypatch
):
    brief.restarts = 3

    class Deadly(Progress):
        def restart_started(self, restart):
            DiesAtItsStart.times = 2 if restart == 1 else 0

    monkeypatch.setattr(DiesAtItsStart, "times", 0)
    ((record,), _) = control([misbehaving("well")], brief, Deadly(), start_process=DiesAtItsStart).run(tmp_path)
    assert (record.status, record.restarts) == ("ok", 1)
    assert any(warning.startswith("ended early: crashed in restart 2") for warning in record.warnings)


def test_later_restarts_sharpen_the_record(misbehaving, brief, measure):
    brief.restarts = 3
    job = misbehaving("well")
    seen = []

    class Watch(Progress):
        def job_recorded(self, record):
            seen.append((record.restarts, record.rounds, record.status))

    (record,) = measure([job], brief, Watch()).records
    # a record is written once more where its roof was raised at the end of a restart
    assert list(dict.fromkeys(seen)) == [(1, 3, "ok"), (2, 6, "ok"), (3, 9, "ok")]
    assert record.restart_spread is not None


def test_five_restarts_can_converge_and_hold_what_differs_between_them(misbehaving, brief):
    job = misbehaving("well")
    state = JobState(job)
    protocol = Protocol(restarts=5, target=0.03)
    state.latency_ns = [[[1000 + restart, 1001 + restart, 1002 + restart]] * 8 for restart in range(5)]
    state.throughput_ns = [[500.0 + restart] * 8 for restart in range(5)]
    record = record_of(state, Sweep("s", protocol, "m", {}))
    assert record.converged
    assert record.confidence >= 0.95
    assert record.latency_low_ns < 1002.0 < record.latency_high_ns
    state.latency_ns[4] = [[1500, 1500, 1500]] * 8
    assert not record_of(state, Sweep("s", protocol, "m", {})).converged


def test_the_budget_ends_a_visit_and_the_record_says_so(misbehaving, brief, measure):
    brief.looks, brief.cell_budget_s, brief.block_ms = [1000], 0.5, 20
    brief.target = 1e-9  # a dozen blocks on a quiet machine can lie within 1 %
    job = misbehaving("well")
    (record,) = measure([job], brief).records
    assert 1 <= record.rounds < 100
    assert record.converged is False
    assert any(warning.startswith("not converged") for warning in record.warnings)


def test_an_arm_that_cannot_exist_here_is_unsupported_in_all_its_jobs(misbehaving, brief, measure):
    arms = [{"device": "gpu"}, {}, {"mode": "compiled"}, {"matmul_precision": "tf32"}, {"variant": "stock"}]
    jobs = [misbehaving("well", **arm) for arm in arms]
    results = measure(jobs, brief).records
    assert [record.status for record in results] == ["unsupported", "ok", "unsupported", "unsupported", "unsupported"]
    assert all(record.reason for record in results if record.status == "unsupported")


def test_a_missing_framework_is_unsupported_and_says_what_to_install(
    misbehaving, brief, monkeypatch, tmp_path, measure
):
    hidden = tmp_path / "hidden" / "sitecustomize.py"
    hidden.parent.mkdir()
    hidden.write_text("import sys\nsys.modules['mlx'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    jobs = [misbehaving("well", framework="mlx"), misbehaving("well")]
    results = measure(jobs, brief).records
    assert [record.status for record in results] == ["unsupported", "ok"]
    assert "pip install" in results[0].reason


def test_an_interrupt_waits_for_no_call_that_hangs_and_keeps_what_was_finished(misbehaving, brief, measure):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background of a shell
    jobs = [misbehaving("well", seq_len=4), misbehaving("hangs"), misbehaving("well", seq_len=16)]
    interrupted_at = []

    class Interrupt(Progress):
        def cell_started(self, cell, arms):
            if dict(cell.params)["how"] == "hangs":
                threading.Timer(0.5, self.interrupt).start()

        def interrupt(self):
            interrupted_at.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    outcome = measure(jobs, brief, Interrupt())
    assert time.monotonic() - interrupted_at[0] < brief.timeout_s / 2  # until which the call would be waited for
    assert outcome.interrupted
    assert [record.status for record in outcome.records] == ["ok", "interrupted", "interrupted"]
    assert _workers() == []


def test_an_interrupt_spares_the_records_of_an_earlier_sweep_in_the_same_folder(misbehaving, brief, measure, tmp_path):
    jobs = [misbehaving("well", seq_len=4), misbehaving("well", seq_len=8)]
    measure(jobs, brief)

    class Interrupt(Progress):
        def cell_started(self, cell, arms):
            raise KeyboardInterrupt

    assert measure(jobs, brief, Interrupt()).interrupted
    frame, _ = records.read([tmp_path / job.folder / records.FILE_NAME for job in jobs])
    assert frame["status"].to_list() == ["ok", "ok"]


def test_a_death_in_a_later_restart_keeps_the_speed_of_earlier_ones_and_is_written_by_an_interrupt(
    misbehaving, brief, control, tmp_path
):
    brief.restarts = 2
    jobs = [misbehaving("well"), misbehaving("well", framework="plain", framework_file=PLAIN)]

    class KillThenInterrupt(Progress):
        rounds = 0

        def round_finished(self, rounds, of, medians_ns):
            self.rounds += 1
            if self.rounds == 4:  # the first of the second restart
                arm = next(arm for arm in controller.workers.alive if arm.framework == "numpy")
                os.kill(controller.workers.alive[arm].pid, signal.SIGKILL)
            if self.rounds == 5:
                raise KeyboardInterrupt

    controller = control(jobs, brief, KillThenInterrupt())
    results, interrupted = controller.run(tmp_path)
    assert interrupted
    assert [(record.status, record.restarts) for record in results] == [("ok", 1), ("ok", 1)]
    frame, _ = records.read([tmp_path / jobs[0].folder / records.FILE_NAME])
    (warnings,) = frame["warnings"].to_list()
    says = "ended early: crashed in restart 2: the worker was ended by SIGKILL"
    assert [warning.startswith(says) for warning in warnings].count(True) == 1
    assert frame["latency_ns"].item() > 0


@pytest.mark.parametrize(
    ("mode", "asked", "told"),
    [("compiled", "prepare", True), ("compiled", "latency", False), ("eager", "prepare", False)],
)
def test_a_first_call_that_is_too_late_is_said_to_compile_where_it_does(mode, asked, told):
    class Late:
        def ask(self, request, timeout_s):
            raise Died("timeout", "the worker did not answer")

    state = JobState(job(Task("softmax", (), "float32", Shape(1, 2)), Arm("torch", mode), 1e-2))
    workers = Workers([state], Protocol(), Progress(), lambda _: None)
    workers.alive[state.job.arm] = Late()
    prepare = Prepare("softmax", None, {}, "native", "float32", Shape(1, 2), Limits(1, 1))
    workers.ask(state, prepare if asked == "prepare" else TimeLatency())
    assert state.status == "timeout"
    assert ("set protocol.timeout_s higher" in state.reason) == told


def test_arms_of_a_cell_are_interleaved_and_one_worker_at_a_time_is_asked(misbehaving, brief, control, tmp_path):
    asked = []

    class Noting(Process):
        def ask(self, request, timeout_s):
            asked.append((self.pid, request.do))
            return super().ask(request, timeout_s)

    brief.looks = [6]
    brief.target = 1e-9
    jobs = [misbehaving("well"), misbehaving("well", framework="plain", framework_file=PLAIN)]
    control(jobs, brief, start_process=Noting).run(tmp_path)
    latency = [pid for pid, do in asked if do == "latency"]
    assert len(latency) == 12
    rounds = [tuple(latency[at : at + 2]) for at in range(0, 12, 2)]
    assert all(len(set(pair)) == 2 for pair in rounds)
    assert len(set(rounds)) == 2  # both orders occur


def test_a_cell_too_large_for_all_its_arms_together_is_measured_arm_by_arm(misbehaving, brief, control, tmp_path):
    jobs = [misbehaving("well", seq_len=8), misbehaving("well", seq_len=8, framework="plain", framework_file=PLAIN)]
    one = memory.needed_bytes(jobs[0].task.problem, jobs[0].task.shape, "float32").device
    brief.memory_fraction = 1.0
    for fits, paired in ((1.5, False), (2.5, True)):
        free = memory.Free(fits * one, 1e9)
        results, _ = control(jobs, brief, free=lambda *_, free=free: free).run(tmp_path)
        assert [(record.status, record.paired) for record in results] == [("ok", paired)] * 2


def test_a_cell_too_large_for_any_memory_is_oom_with_the_estimate_and_never_built(misbehaving, brief, measure):
    jobs = [misbehaving("well", seq_len=1 << 40), misbehaving("well")]
    results = measure(jobs, brief).records
    assert [record.status for record in results] == ["oom", "ok"]
    assert "estimated to need 32.0 TiB on the device" in results[0].reason


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone lets a program choose its processors")
def test_workers_are_kept_on_the_processors_that_the_protocol_names(misbehaving, brief, measure, control, tmp_path):
    brief.cpus = [max(os.sched_getaffinity(0))]
    seen = []

    class Watch(Progress):
        def round_finished(self, rounds, of, medians_ns):
            seen.extend(set(os.sched_getaffinity(worker.pid)) for worker in controller.workers.alive.values())

    job = misbehaving("well")
    controller = control([job], brief, Watch())
    (record,), _ = controller.run(tmp_path)
    assert record.status == "ok"
    assert seen
    assert all(affinity == set(brief.cpus) for affinity in seen)
    brief.cpus = [4095]
    (record,) = measure([job], brief).records
    assert record.status == "unsupported"
    assert "4095" in record.reason


def test_without_an_energy_counter_the_record_says_why(misbehaving, brief, control, tmp_path):
    brief.energy_s = 0.2
    job = misbehaving("well")
    meter = Meter(0.2, open_reader=lambda device, gpu: "no counter")
    (record,), _ = control([job], brief, meter=meter).run(tmp_path)
    assert record.status == "ok"
    assert record.energy_joule is None
    assert record.energy_kind == "not available here: no counter"


def test_an_idle_worker_burns_no_processor_time():
    process = Process()
    process.ask(Start("numpy", None, "eager", Settings(), Protocol()), 60)
    spent = []
    for _ in range(5):  # what its library still does after the start is over soon
        before = _processor_seconds()
        time.sleep(1)
        spent.append(_processor_seconds() - before)
        if spent[-1] < 0.1:
            break
    process.end()
    assert min(spent) < 0.1


def _workers() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def _processor_seconds() -> float:
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return total
