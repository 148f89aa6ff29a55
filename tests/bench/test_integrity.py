"""Each way of cheating is caught, by the check that is meant for it; and honest work is not accused."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, count, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtbench.bench import wire
from mtbench.bench.controller.conditions import contention
from mtbench.bench.controller.process import Process
from mtbench.bench.rates import Rates, Roofs
from mtbench.bench.worker import integrity, unseen
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Case, Mismatch
from mtbench.frameworks.base import Settings
from mtbench.frameworks.numpy import NumPy
from mtbench.machine.watch import Watch
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.protocol import Protocol

USER = Path(__file__).parent / "user"
CHECK_SEED = 12345
PROTOCOL = Protocol(block_ms=2, warmup_s=0.01, warmup_cap_s=0.3)


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[tuple[str, str, str], Process]]:
    started: dict[tuple[str, str, str], Process] = {}
    yield started
    for process in started.values():
        process.end()


@pytest.fixture(scope="module")
def peaks() -> dict[tuple[str, str, str], Rates]:
    return {}


LEAVE_WORK = ("leaves a thread at work", "finishes in a thread")
"""Each has a worker of its own: what it leaves behind would be held against the next one."""


@pytest.fixture
def judge(workers, peaks):
    """judge(framework, how, mode): measures briefly in a real worker; the answer that ended it, or `finish`'s."""

    def run(
        framework: str,
        how: str,
        mode: str = "eager",
        operator: str = "cheating",
        batch: int = 64,
        seq: int = 256,
        roofs: Roofs | None = None,
    ):
        key = (framework, mode, how if how in LEAVE_WORK else "")
        if key not in workers:
            own = USER / "framework" / f"{framework}.py"
            process = workers[key] = Process()
            start = wire.Start(framework, str(own) if own.exists() else None, mode, Settings(), PROTOCOL)
            started = process.ask(start, 60)
            assert isinstance(started, wire.Started), started
            measured = process.ask(wire.MeasurePeaks("float32"), 60)  # refused where the framework is seen not to wait
            rates = measured if isinstance(measured, Rates) else Rates()
            peaks[key] = rates.doubted() if is_busy() else rates
        process = workers[key]
        file = str(USER / "operator" / f"{operator}.py")
        prepared = process.ask(
            wire.Prepare(
                operator, file, {"how": how}, "native", "float32", Shape(batch, seq), Limits(1e-5, 1e-5), CHECK_SEED
            ),
            60,
        )
        if isinstance(prepared, wire.Refused):
            return prepared
        process.ask(wire.TimeLatency(), 60)
        process.ask(wire.TimeCanary(), 60)  # whose own first call may compile
        call_ns = min(process.ask(wire.TimeThroughput(), 60).call_ns for _ in range(3))  # as in a sweep, its shortest
        roofs = roofs or peaks[key].at(prepared.bytes_moved, beyond=True)
        return process.ask(wire.Finish(thorough=True, call_ns=call_ns, roofs=roofs, busy=is_busy()), 60)

    return run


FLEETING = (
    "works on a second stream", "goes on with something else", "works only after a pause", "forgetful", "unsynchronised",
    *LEAVE_WORK,
)  # fmt: skip
"""Cheats whose traces pass by themselves, or that work honestly after a pause. Where other programs take the processor right
before the look at them, there is nothing to be seen, so each gets some chances to be caught."""

CHANCES = 8


def caught(judge, framework, how, **options):
    """The answer to a cheat, which must be the first one unless time hides its traces."""
    answer = judge(framework, how, **options)
    for _ in range(CHANCES - 1 if {framework, how} & set(FLEETING) else 0):
        if isinstance(answer, wire.Refused):
            break
        answer = judge(framework, how, **options)
    return answer


def is_busy() -> bool:
    """Whether peaks that are measured now are doubted, as in a sweep."""
    return contention(Watch().sample()) is not None


HAS_JAX = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")


@pytest.mark.parametrize("framework", ["numpy", "mlx", pytest.param("jax", marks=HAS_JAX)])
def test_honest_work_is_not_accused(judge, framework):
    answer = judge(framework, "honestly")
    assert isinstance(answer, wire.Finished), answer
    assert not any("recompiled" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("framework", "how", "reason"),
    [
        ("mlx", "hides its result", "not an array"),
        ("mlx", "hides it beside an array", "not an array"),
        ("mlx", "works on a second stream", "work went on"),
        ("mlx", "keeps its answer", "existed before"),
        ("numpy", "keeps its answer", "existed before"),
        ("numpy", "returns its input", "exceeds the tolerance"),
        ("numpy", "copies its first answer", "on other inputs"),
        ("numpy", "leaves a thread at work", "went on computing"),
        ("numpy", "claims too much", "GFLOP/s, more than"),
        ("numpy", "claims too many bytes", "GB/s, more than"),
        pytest.param("jax", "hides its result", "not an array", marks=HAS_JAX),
        pytest.param("jax", "keeps its answer", "existed before", marks=HAS_JAX),
        pytest.param("jax", "goes on with something else", "work went on|went on computing", marks=HAS_JAX),
        # their peak rates, too, are of work that nobody waited for, unless that was seen
        ("forgetful", "honestly", "work went on|work was not done"),
        ("unsynchronised", "honestly", "work went on|work was not done"),
    ],
)
def test_a_cheat_is_a_mismatch_with_its_reason(judge, framework, how, reason):
    answer = caught(judge, framework, how, batch=4096 if framework == "forgetful" else 64)
    assert isinstance(answer, wire.Refused), answer
    assert answer.status == "mismatch", answer
    assert re.search(reason, answer.reason)


@pytest.mark.parametrize(
    ("framework", "how", "reason"),
    [
        ("numpy", "remembers by address and one value", "new values took .* times as long"),
        ("numpy", "knows the seeds", "new values took .* times as long"),
        ("torch", "computes when looked at", "a Lazy, which is not an array"),
        ("numpy", "works only after a pause", "on other inputs"),
        ("numpy", "finishes in a thread", "exceeds the tolerance"),
        ("numpy", "has two buffers", "same memory"),
        ("numpy", "computes some rows", "exceeds the tolerance"),
        ("numpy", "computes one row less", "batch 5"),
        ("numpy", "gives a view", "less memory than values"),
    ],
)
def test_a_trick_that_looks_at_what_is_checked_is_seen_through(judge, framework, how, reason):
    answer = caught(judge, framework, how, operator="subtle", batch=16, seq=64, roofs=Roofs())
    assert isinstance(answer, wire.Refused), answer
    assert answer.status == "mismatch", answer
    assert re.search(reason, answer.reason), answer.reason


@pytest.mark.parametrize("framework", ["numpy", "torch", "mlx", pytest.param("jax", marks=HAS_JAX)])
def test_work_of_which_only_some_rows_have_a_reference_is_not_accused(judge, framework):
    answer = judge(framework, "honestly", operator="subtle", batch=16, seq=64, roofs=Roofs())
    assert isinstance(answer, wire.Finished), answer


def test_equal_products_that_the_compiler_merges_exceed_the_peak(judge):
    answer = judge("mlx", "merges equal products", mode="compiled", batch=256)
    assert isinstance(answer, wire.Refused), answer
    assert answer.status == "mismatch", answer
    assert "GFLOP/s, more than" in answer.reason


def test_a_scalar_that_changes_and_recompiles_is_a_warning(judge):
    answer = judge("mlx", "changes a scalar")
    assert isinstance(answer, wire.Finished), answer
    assert "recompiled while it was timed" in answer.warnings


class Turns:
    """Calls on seen and on unseen inputs in turns, that take these times; the first one is not timed."""

    def __init__(self, pairs: Sequence[tuple[float, float]]) -> None:
        self.left_ns = chain([0.0], chain.from_iterable(pairs))
        self.now_ns = 0
        self.inputs = [[np.zeros(4, np.float32)]]

    def run_with(self, *inputs: object) -> None:
        self.now_ns += int(next(self.left_ns))

    def clock(self) -> int:
        return self.now_ns

    def check(self) -> list[str]:
        case, gate = Case({"x": np.zeros(4)}, {}), SimpleNamespace(seed=1, dtype="float32")
        return unseen.check_times(NumPy(Settings()), self, [np.ones(4, np.float32)], case, gate)


def test_an_honest_call_that_was_hardly_ever_undisturbed_is_not_accused():
    disturbed = [(50e6, 40e6)] * 24
    assert Turns([(1e6, 40e6), *disturbed]).check() == [
        "a call on new values took 40.0 times as long as on earlier ones"
    ]


def test_a_remembered_answer_is_seen_beside_other_programs_too():
    for disturbed in (0, 6):
        with pytest.raises(Mismatch, match=r"new values took 100\.0 times as long"):
            Turns([(1e4, 1e6)] * (25 - disturbed) + [(9e6, 2e6)] * disturbed).check()


def test_a_call_that_takes_long_gets_few_tries_and_a_short_one_all_however_long_they_took():
    with pytest.raises(Mismatch, match="took 4"):
        Turns([(1e9, 4e9)] * unseen.FEWEST_TRIES).check()
    assert Turns([(900e6, 900e6), *[(1e6, 80e6)] * 23, (1e6, 1e6)]).check() == []  # in whose time others took 2.8 s


class FakeDevice:
    """Queued calls cost `first_ns`, then `next_ns` each; a device that merges them makes the rest free."""

    def __init__(self, first_ns: int, next_ns: int) -> None:
        self.first_ns, self.next_ns = first_ns, next_ns
        self.now_ns = self.queued = 0

    def call(self) -> object:
        self.queued += 1
        return object()

    def wait(self, out: object) -> None:
        self.now_ns += self.first_ns + self.next_ns * (self.queued - 1)
        self.queued = 0

    def subject(self) -> Subject:
        return Subject(self.call, [[]], self.wait, lambda out: None, lambda: self.now_ns)


class BusyMachine:
    """Completing takes `left_ns` after a call and `idle_ns` when nothing is left, each time the next of these, and the last for
    ever; and a process that computes for so much of each pause."""

    def __init__(self, left_ns=(2000,), idle_ns=(2000,), share=(0.0,)) -> None:
        self.left_ns, self.idle_ns, self.share = (self.then_the_last(values) for values in (left_ns, idle_ns, share))
        self.now_ns = self.calls = 0
        self.pending = False

    @staticmethod
    def then_the_last(values: Sequence[float]) -> Iterator[float]:
        return chain(values, repeat(values[-1]))

    def call(self) -> object:
        self.calls += 1
        self.pending = True
        return object()

    def settle(self, out: object) -> None:
        self.now_ns += int(next(self.left_ns if self.pending else self.idle_ns))
        self.pending = False

    def busy_share(self, pause_s: float) -> float:
        return next(self.share)

    def check(self) -> list[str]:
        subject = Subject(self.call, [[]], lambda out: None, lambda out: None, lambda: self.now_ns)
        return integrity.check_complete(self, subject, 1000.0, self.busy_share)


def test_a_pause_of_the_machine_does_not_excuse_work_that_was_left():
    for busy in (1, integrity.FIRST_LOOKS - 1):
        machine = BusyMachine(left_ns=[1_000_000], idle_ns=[4_000_000] * busy + [2000])
        with pytest.raises(Mismatch, match="work went on for 998 µs"):
            machine.check()


def test_a_busy_machine_does_not_accuse_an_honest_call():
    often_ended = [*[3_000_000] * 19, 2000]
    machine = BusyMachine(left_ns=[*[3_000_000] * 60, 2000], idle_ns=often_ended * 10)
    assert machine.check() == []
    machine = BusyMachine(left_ns=[3_000_000], idle_ns=[2000, 3_000_000])
    assert machine.check() == [
        "the machine was too busy to tell whether work went on after the result had been waited for"
    ]


def test_a_quiet_machine_needs_one_look():
    machine = BusyMachine()
    assert machine.check() == []
    assert machine.calls == 2 + integrity.BUSY_TRIES


def test_a_thread_that_gets_no_processor_for_a_while_is_still_seen():
    with pytest.raises(Mismatch, match="went on computing"):
        BusyMachine(share=[0.9, 0.0, 0.1, 0.9] * 10).check()
    assert BusyMachine(share=[0.9, 0.9, 0.1]).check() == []


def test_a_thread_that_waits_for_a_processor_is_waited_for():
    computed, wanted = iter([0.0] * 20 + [1.0]), count(step=1000)  # a processor in the 20th pause, and never one before
    assert integrity.busy_share(1e-4, lambda: next(computed), lambda: next(wanted)) > integrity.BUSY_FRACTION


@pytest.mark.parametrize("wanted", [[0.0, 0.0], [0.0, 1000.0, 1000.0]])
def test_a_thread_that_spins_a_little_is_none_at_work(wanted):
    left = iter(wanted)
    assert integrity.busy_share(1e-4, lambda: 0.0, lambda: next(left)) == 0
    assert list(left) == []  # it looked until it was idle, and no longer


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="asks Linux's scheduler")
def test_what_looking_takes_is_not_of_a_thread_at_work():
    waited = count()

    def look() -> float:
        until = time.thread_time() + 1e-3
        while time.thread_time() < until:
            pass
        return float(next(waited))  # something waits for a processor all the time

    assert integrity.busy_share(1e-3, wanted_s=look) <= integrity.BUSY_FRACTION


def test_the_other_threads_alone_are_asked_what_they_want():
    before, spent = integrity.wanted_s(), time.thread_time() + 0.05
    while time.thread_time() < spent:
        pass
    alone, ending = integrity.wanted_s(), threading.Event()
    assert alone - before < 0.04
    worker = threading.Thread(target=lambda: [None for _ in iter(ending.is_set, True)])
    worker.start()
    try:
        deadline = time.monotonic() + 60
        while integrity.wanted_s() - alone < 0.05 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert integrity.wanted_s() - alone >= 0.05
    finally:
        ending.set()
        worker.join()


@pytest.mark.parametrize(
    ("first_ns", "next_ns", "linear"), [(1000, 1000, True), (100_000, 10, False), (1200, 1000, True)]
)
def test_queued_calls_must_take_time_in_proportion(first_ns, next_ns, linear):
    assert (integrity.check_linear(FakeDevice(first_ns, next_ns).subject(), 100, 1000.0) == []) is linear


def test_calls_that_become_slow_while_they_are_checked_are_tried_no_longer_than_a_while():
    device = FakeDevice(100_000_000, 4_000_000)  # said to take 7 µs each
    assert integrity.check_linear(device.subject(), 500, 7000.0) == []
    device = FakeDevice(3_000_000_000, 1_000_000)
    (warning,) = integrity.check_linear(device.subject(), 500, 7000.0)
    assert "1.08 times as long" in warning
    assert device.now_ns < 2 * 3_500_000_000


def test_a_rate_above_the_peak_is_suspect_and_one_far_above_impossible():
    assert integrity.check_rate(1.09e9, 1e9, 1e9, "FLOP/s") == []
    assert "implies 1.11 GFLOP/s, more than the 1 GFLOP/s" in integrity.check_rate(1.11e9, 1e9, 1e9, "FLOP/s")[0]
    with pytest.raises(Mismatch, match="not done"):
        integrity.check_rate(2.01e9, 1e9, 1e9, "FLOP/s")
    assert integrity.check_rate(1e30, 1.0, None, "FLOP/s") == []


def test_a_small_excess_has_the_peaks_measured_again_once_and_a_suspicious_one_each_time():
    asked: list[str] = []

    def measure(dtype: str) -> Rates:
        asked.append(dtype)
        return Rates(1.2e9, {1024: 1e12})

    rates = integrity.RateCheck(measure)
    work, roofs = ("float32", 1.05, 1.0), Roofs(1e9, 1e12)
    assert rates.check(*work, 1.1, roofs) == (None, [])  # 0.95 of the peak
    again, warnings = rates.check(*work, 1.0, roofs)
    assert again == Rates(1.2e9, {1024: 1e12})
    assert warnings == []
    assert rates.check(*work, 1.0, roofs) == (None, [])
    assert rates.check(*work, 0.9, roofs) == (again, [])  # 1.17 of the old peak, 0.97 of the new one
    assert rates.check(*work, 0.75, roofs)[1] != []  # 1.17 of the new one
    assert asked == ["float32"] * 3


def test_nothing_is_called_impossible_while_the_peaks_may_be_those_of_a_busy_machine():
    measured = [0.2e9, 0.3e9, 1.2e9, 0.1e9]
    rates = integrity.RateCheck(lambda dtype: Rates(measured.pop(0), {1024: 1e12}))
    work, roofs = ("float32", 1.0, 1.0), Roofs(0.25e9, 1e12)
    assert rates.check(*work, 1.0, roofs) == (Rates(1.2e9, {1024: 1e12}), [])
    assert measured == [0.1e9]
    measured[:] = [0.2e9, 0.3e9, 0.4e9]
    with pytest.raises(Mismatch, match="not done"):
        rates.check(*work, 1.0, roofs)
    assert measured == []


def test_a_peak_of_a_busy_machine_accuses_nobody_of_what_is_possible():
    """A library's products reached 1.4 GFLOP/s beside a load of 20, twelve times in a row, and honest work 2.93."""
    measured = Rates(1.4e9, {1024: 1e12})
    rates, doubtful = integrity.RateCheck(lambda dtype: measured), measured.doubted().at(1.0)
    again, warnings = rates.check("float32", 2.93, 1.0, 1.0, doubtful, busy=True)
    assert again == measured.doubted()
    assert warnings == [
        "implies 2.93 GFLOP/s, more than the 1.4 GFLOP/s that this machine was measured to reach while it was busy"
    ]
    with pytest.raises(Mismatch, match="not done"):  # beyond doubt
        rates.check("float32", 29.3, 1.0, 1.0, doubtful, busy=True)
    with pytest.raises(Mismatch, match="not done"):  # an idle machine reaches no more
        rates.check("float32", 2.93, 1.0, 1.0, doubtful)
    with pytest.raises(Mismatch, match="not done"):  # nor did it before
        rates.check("float32", 2.93, 1.0, 1.0, measured.at(1.0), busy=True)


def test_a_job_is_not_accused_of_what_a_busy_machine_does_to_the_peaks():
    def measure(dtype: str) -> Rates:
        raise Mismatch("queued calls took 1e+03 µs each, waited ones 2e+04 µs: work is not done")

    rates = integrity.RateCheck(measure)
    again, warnings = rates.check("float32", 1.05, 1.0, 1.0, Roofs(1e9, 1e12))
    assert again is None
    assert [warning.partition(":")[0] for warning in warnings] == ["the peak rates could not be measured again"]
    with pytest.raises(Mismatch, match="not done"):
        rates.check("float32", 2.5, 1.0, 1.0, Roofs(1e9, 1e12))


@pytest.mark.parametrize("framework", ["numpy", "torch", "mlx", pytest.param("jax", marks=HAS_JAX)])
def test_a_mask_is_a_mask_in_every_library(judge, framework):
    answer = judge(framework, "", operator="masked", roofs=Roofs())
    assert isinstance(answer, wire.Finished), answer
