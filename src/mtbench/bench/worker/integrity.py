"""The honesty checks: whether a measured call did all of its work within the measured time.

They run in the worker, after the blocks, on the very call that was timed. A failed one is a mismatch, or a warning where
noise could explain it; never silence.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mtbench.bench.rates import Rates, Roofs
from mtbench.bench.worker.blocks import Subject, throughput_calls
from mtbench.bench.worker.correctness import Mismatch
from mtbench.frameworks.base import Framework
from mtbench.results.format import percent

TRIES = 5

PATIENCE = 25
"""How many undisturbed tries must find work left behind before a call is accused. Other work on the machine disturbs some
tries, and on a busy machine most."""

MOST_TRIES = 8 * PATIENCE
"""After this many tries on a machine that is too busy to tell, the call gets the benefit of the doubt, and a warning."""

FIRST_LOOKS = 10
"""How often the time of completing nothing is measured before it may excuse a call: noise only adds to it, too."""

LEFT_FRACTION = 0.1
LEFT_NS = 50_000
"""After `wait`, completing everything may take this fraction of a call, or this long, whichever is larger, more than it takes
when nothing is left. A second cudaDeviceSynchronize costs 2 µs; waking a thread on a loaded machine costs tens."""

BUSY_PAUSE_S = 0.01
BUSY_FRACTION = 0.2
BUSY_TRIES = 3
"""A process that is waiting after its result uses next to no processor time; one with a thread at work uses all that it gets.
On a busy machine that may be nothing for one pause, but not for some in a row."""

LINEAR = (1.9, 2.1)
"""Twice as many queued calls must take between 1.9 and 2.1 times as long."""

LINEAR_LIMIT_NS = 200e6
"""Above this a throughput block is not repeated to check its linearity: a call that long hides nothing in a queue."""

LINEAR_TRIES_NS = 1e9
"""After this long there are no more tries. Where a library shared two processors with its own waiting threads, calls of 7 µs
became 400 times slower during the check, and five tries took 8 s."""

SUSPECT_FACTOR, IMPOSSIBLE_FACTOR = 1.1, 2.0
"""A rate above the first times the best that was measured on this machine is a warning, since that was a measurement
too; above the second it is not believed."""

BEYOND_DOUBT_FACTOR = 20.0
"""IMPOSSIBLE_FACTOR for a peak that is not sure. Beside a load of 20 on two processors, one library's products reached a third
of their usual rate in each of 16 measurements, and honest work reached 2.1 times that. Another library's products once reached
an eighth."""

PEAK_CHANCES = 3
"""How often peaks are measured again before a result is called impossible: while something else uses the machine, all of them
are too low."""


def wanted_s() -> float:
    """How long the other threads of this process have computed or waited for a processor; 0 where the system does not tell.
    (Linux, Documentation/scheduler/sched-stats.rst: the first two numbers, in nanoseconds.)"""
    wanted_ns, own = 0, str(threading.get_native_id())
    for task in Path("/proc/self/task").glob("*/schedstat"):
        if task.parent.name != own:
            with suppress(OSError, ValueError):  # the thread has just ended
                wanted_ns += sum(map(int, task.read_text().split()[:2]))
    return wanted_ns * 1e-9


def computed_s() -> float:
    """Processor time of the other threads of this process, in seconds. This thread does not count, since it looks at them again
    and again."""
    return time.process_time() - time.thread_time()


def busy_share(
    pause_s: float, computed_s: Callable[[], float] = computed_s, wanted_s: Callable[[], float] = wanted_s
) -> float:
    """How much of a pause this process computes while this thread sleeps; 1 is one processor all the time.

    On a busy machine a thread at work may get no processor in a pause. So there are further pauses until no thread waits for a
    processor, or the process has computed; all that it computes counts as in one pause. A thread that spins a little after a
    call, as those of BLAS do, ends that as soon as it gets a processor.
    """
    before, wanted, share = computed_s(), wanted_s(), 0.0
    for _ in range(PATIENCE):
        started = time.perf_counter()
        time.sleep(pause_s)
        share = (computed_s() - before) / pause_s
        wanted_before, wanted = wanted, wanted_s()
        if share > BUSY_FRACTION or wanted - wanted_before <= BUSY_FRACTION * (time.perf_counter() - started):
            break
    return share


def check_complete(
    framework: Framework, subject: Subject, call_ns: float, busy_share: Callable[[float], float] = busy_share
) -> list[str]:
    """Raises Mismatch where work was still going on after `wait` had returned: a result that was never computed, a second
    stream, a device that nobody waited for, a thread. A warning where the machine is too busy to tell."""
    warnings = _check_nothing_left(framework, subject, max(LEFT_FRACTION * call_ns, LEFT_NS))
    _check_idle(subject, busy_share)
    return warnings


def _check_nothing_left(framework: Framework, subject: Subject, allowed_ns: float) -> list[str]:
    """Completes everything after a call, and then once more, when nothing is left. After an honest call both take equally long,
    also while the machine is busy. Raises Mismatch where the second is quick again and again and the first never is."""

    def settle(out: object) -> int:
        start = subject.clock()
        framework.settle(out)
        return subject.clock() - start

    out = subject.run()
    framework.settle(out)
    idle = [settle(out) for _ in range(FIRST_LOOKS)]
    del out
    left: list[int] = []
    for _ in range(MOST_TRIES):
        out = subject.run()
        left.append(settle(out))
        idle.append(settle(out))
        del out  # two results at a time may be more than fits
        if min(left) - min(idle) <= allowed_ns:
            return []
        if sum(one - min(idle) <= allowed_ns for one in idle[FIRST_LOOKS:]) >= PATIENCE:
            raise Mismatch(
                f"work went on for {(min(left) - min(idle)) / 1e3:.0f} µs after the result had been waited for, "
                "so the measured time is too short"
            )
    return ["the machine was too busy to tell whether work went on after the result had been waited for"]


def _check_idle(subject: Subject, busy_share: Callable[[float], float]) -> None:
    """Raises Mismatch if the process goes on computing after a call."""
    shares: list[float] = []
    for _ in range(PATIENCE):
        out = subject.run()
        shares.append(busy_share(BUSY_PAUSE_S))
        del out
        if len(shares) >= BUSY_TRIES and max(shares[-BUSY_TRIES:]) <= BUSY_FRACTION:
            return
    share = percent(min(shares))
    raise Mismatch(f"the process went on computing after the result had been waited for ({share} of a core)")


def check_fresh(framework: Framework, subject: Subject) -> None:
    """Raises Mismatch where a call returns the array that an earlier call returned, or an input.

    Where outputs are static, a result is valid only until the next call, so the second output may lie where the first was. Only
    other inputs then show that it was computed.
    """
    first, second = framework.leaves(subject.run()), framework.leaves(subject.run())
    earlier = [*([] if framework.static_outputs else first), *(array for inputs in subject.inputs for array in inputs)]
    if any(framework.same(new, old) for new in second for old in earlier):
        raise Mismatch("the call returned an array that existed before, so nothing needed to be computed")


def check_linear(subject: Subject, calls: int, call_ns: float) -> list[str]:
    """A warning where twice the queued calls do not take twice the time.

    A half of a block's calls, and all of them. The best of a few tries on each side, since noise only adds; no more tries than
    are needed to see it.
    """
    if calls * call_ns > LINEAR_LIMIT_NS:
        return []
    some = max(1, calls // 2)
    once, twice = math.inf, math.inf
    started = subject.clock()
    for _ in range(TRIES):
        once = min(once, throughput_calls(subject, some) * some)
        twice = min(twice, throughput_calls(subject, 2 * some) * 2 * some)
        if LINEAR[0] <= twice / once <= LINEAR[1]:
            return []
        if subject.clock() - started > LINEAR_TRIES_NS:
            break
    return [f"not linear: twice the queued calls took {twice / once:.2f} times as long"]


def excess(work: float, call_ns: float, peak: float | None) -> float:
    """How many times a peak rate `work` (FLOP or bytes) in that time implies; 0 where no peak is known."""
    return 0.0 if peak is None else work / (call_ns * 1e-9) / peak


def check_rate(work: float, call_ns: float, peak: float | None, unit: str, sure: bool = True) -> list[str]:
    """A warning where `work` in that time exceeds what this machine was measured to reach. Raises Mismatch where it exceeds
    that by far; for a peak that is not `sure`, the limit is higher."""
    if peak is None or excess(work, call_ns, peak) <= SUSPECT_FACTOR:
        return []
    rate = work / (call_ns * 1e-9)
    claim = f"implies {rate / 1e9:.3g} G{unit}, more than the {peak / 1e9:.3g} G{unit} that this machine was measured to reach"
    if rate > (IMPOSSIBLE_FACTOR if sure else BEYOND_DOUBT_FACTOR) * peak:
        raise Mismatch(f"{claim}, so some of the work was not done")
    return [claim if sure else f"{claim} while it was busy"]


class RateCheck:
    """Holds calls against the peak rates, in one process; `measure` finds those of a dtype once more.

    A peak may have been measured while the machine was busy with something else, so it gets a second chance: for a small
    excess one for each dtype, for a suspicious one each time, and more before anything is called impossible.
    """

    def __init__(self, measure: Callable[[str], Rates]) -> None:
        self.measure = measure
        self.measured_again: set[str] = set()

    def check(
        self, dtype: str, flops: float, bytes_moved: float, call_ns: float, roofs: Roofs, busy: bool = False
    ) -> tuple[Rates | None, list[str]]:
        """The rates as measured anew where the call exceeded `roofs`, else None, and warnings. Raises Mismatch as `check_rate`
        does. What is measured on a `busy` machine is not sure. Such a machine may make it look as if the library's own products
        were not done; the call is not to blame for that."""

        def exceeded() -> float:
            of_flops = excess(flops, call_ns, roofs.flops_per_s)
            return max(of_flops, excess(bytes_moved, call_ns, roofs.bytes_per_s))

        again, doubts = None, dict[str, None]()
        if exceeded() > SUSPECT_FACTOR or (exceeded() > 1 and dtype not in self.measured_again):
            self.measured_again.add(dtype)
            for _ in range(PEAK_CHANCES):
                try:
                    now = self.measure(dtype).doubted() if busy else self.measure(dtype)
                except Mismatch as error:
                    doubts[f"the peak rates could not be measured again: {error}"] = None
                    continue
                again = now if again is None else again.merged(now)
                roofs = roofs.raised(again.at(bytes_moved, beyond=True))
                if exceeded() <= IMPOSSIBLE_FACTOR:
                    break
        warnings = check_rate(flops, call_ns, roofs.flops_per_s, "FLOP/s", roofs.flops_sure)
        warnings += check_rate(bytes_moved, call_ns, roofs.bytes_per_s, "B/s", roofs.bytes_sure)
        return again, [*warnings, *doubts]
