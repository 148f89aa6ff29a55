"""The honesty checks: whether a measured call really did its work, all of it, in the time that was taken.

They run in the worker, after the blocks, on the very call that was timed. A failed one is a mismatch, or a warning where
noise could explain it; never silence.
"""

import time
from collections.abc import Callable, Sequence

from mtbench.bench.blocks import Subject, latency_calls, throughput_calls
from mtbench.bench.verify import Mismatch
from mtbench.frameworks.base import Framework

TRIES = 5

LEFT_FRACTION = 0.1
LEFT_NS = 20_000
"""After `wait`, completing everything may take this fraction of a call or this long more than it takes when nothing is
left, the larger: 20 µs is some ten times what a second cudaDeviceSynchronize costs."""

BUSY_PAUSE_S = 0.01
BUSY_FRACTION = 0.5
"""A process that is waiting after its result uses next to no processor time; one with a thread at work uses all."""

LINEAR = (1.9, 2.1)
"""Twice as many queued calls must take between these times as long."""

LINEAR_LIMIT_NS = 200e6
"""Above this a throughput block is not repeated to check its linearity: a call that long hides nothing in a queue."""

PEAK_FACTOR = 1.1
"""A rate above this times the best that was measured on this machine is not believed."""


def check_complete(framework: Framework, subject: Subject, call_ns: float) -> None:
    """Raises Mismatch where work was still going on after `wait` had returned: a result that was never computed, a second
    stream, a device that nobody waited for, a thread."""
    left: list[int] = []
    idle: list[int] = []
    for _ in range(TRIES):
        out = subject.run()
        for durations in (left, idle):
            start = subject.clock()
            framework.settle(out)
            durations.append(subject.clock() - start)
        del out
    excess = min(left) - min(idle)
    if excess > max(LEFT_FRACTION * call_ns, LEFT_NS):
        raise Mismatch(
            f"work went on for {excess / 1e3:.0f} µs after the result had been waited for, so its time is not the whole time"
        )
    busy = []
    for _ in range(TRIES):
        out = subject.run()
        before = time.process_time()
        started = time.perf_counter()
        time.sleep(BUSY_PAUSE_S)
        busy.append((time.process_time() - before) / (time.perf_counter() - started))
        del out
        if busy[-1] <= BUSY_FRACTION:
            return
    raise Mismatch(f"the process went on computing after the result had been waited for ({min(busy):.0%} of a core)")


def check_fresh(framework: Framework, subject: Subject) -> None:
    """Raises Mismatch where a call returns the array that an earlier call returned, or an input."""
    first, second = framework.leaves(subject.run()), framework.leaves(subject.run())
    earlier = [*first, *(array for inputs in subject.inputs for array in inputs)]
    if any(framework.same(new, old) for new in second for old in earlier):
        raise Mismatch("the call returned an array that existed before, so nothing needed to be computed")


def check_linear(subject: Subject, calls: int, call_ns: float) -> list[str]:
    """A warning where twice the queued calls do not take twice the time; the best of a few, since noise only adds."""
    if calls * call_ns > LINEAR_LIMIT_NS:
        return []
    once, twice = [], []
    for _ in range(TRIES):
        once.append(throughput_calls(subject, calls) * calls)
        twice.append(throughput_calls(subject, 2 * calls) * 2 * calls)
    ratio = min(twice) / min(once)
    if LINEAR[0] <= ratio <= LINEAR[1]:
        return []
    return [f"not linear: twice the queued calls took {ratio:.2f} times as long"]


def exceeds(work: float, call_ns: float, peak: float | None) -> bool:
    """Whether `work` (FLOP or bytes) in that time is more than a peak rate leaves possible."""
    return peak is not None and work / (call_ns * 1e-9) > PEAK_FACTOR * peak


def check_rate(work: float, call_ns: float, peak: float | None, unit: str) -> None:
    """Raises Mismatch where `work` in that time exceeds what this machine was measured to reach."""
    if peak is not None and exceeds(work, call_ns, peak):
        raise Mismatch(
            f"implies {work / call_ns:.3g} G{unit}, more than the {peak / 1e9:.3g} G{unit} that this machine was measured "
            "to reach, so some of the work was not done"
        )


def best_rate(
    make: Callable[[int], tuple[Subject, float]], sizes: Sequence[int], enough_ns: float, tries: int = 3
) -> float | None:
    """The best work per second over problems of rising size; stops after the first whose call takes `enough_ns`.

    `make(size)` gives the subject and its work in FLOP or bytes. None where the library refuses all sizes.
    """
    best = None
    for size in sizes:
        subject, work = make(size)
        subject.run()
        fastest = min(latency_calls(subject, tries))
        subject.last = None
        best = max(best or 0.0, work / (fastest * 1e-9))
        if fastest > enough_ns:
            break
    return best
