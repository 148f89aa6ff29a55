"""Timing, inside the worker: the first call, the warm-up, and blocks of calls in latency and throughput mode.

Everything here takes the clock as an argument, so that a test can prove it on a clock of its own.
"""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from statistics import median
from typing import Any

from mtbench.plan.protocol import Protocol

TICK_READINGS = 2000

TICK_FRACTION = 0.002
"""The largest step of the clock, as a fraction of what is timed. Where its steps are larger, several calls are timed together.
Otherwise the medians of two arms would fall on its steps (562 and 564.5 ns on 541.7 and 583.3), and spoil their ratio."""

PARTS = 5
"""The parts of a throughput block. A part is 4 ms of 20, so long that waiting for it once takes little of it (20 µs on a GPU).
Two of five may be disturbed before their median is."""

Call = Callable[..., Any]
Clock = Callable[[], int]


@dataclass
class Subject:
    """The call under test with its inputs, and how its library starts and completes work.

    `inputs` are sets of equal inputs that successive calls take in turn: one set, or, for a cold cache, so many that
    none is still in the cache when its turn comes again.
    """

    call: Call
    inputs: Sequence[Sequence[Any]]
    wait: Call
    submit: Call
    clock: Clock  # time.perf_counter_ns: monotonic, nanoseconds, the one clock that all frameworks share
    on_gpu: bool = False
    compilations: Callable[[], int | None] = lambda: None
    keep: Call = lambda out: out  # makes a copy of an output
    calls_per_sample: int = 1
    call_ns: float = 0.0  # how long a call takes, once a warm-up has found it
    last: Any = None  # the output of the last timed call, for the check afterwards

    def __post_init__(self) -> None:
        self._turns = cycle(self.inputs)

    def turns(self, calls: int) -> list[Sequence[Any]]:
        """The inputs of `calls` calls. They go on where the last ones ended, so that none is still warm."""
        return list(islice(self._turns, calls))

    def run(self) -> Any:
        """One untimed call, completed."""
        (inputs,) = self.turns(1)
        return self.run_with(*inputs)

    def run_with(self, *inputs: Any) -> Any:
        """The same on these inputs."""
        out = self.call(*inputs)
        self.wait(out)
        return out


@dataclass
class WarmUp:
    """How a warm-up ended: the median of its last window, its calls, and whether it became steady."""

    call_ns: float
    calls: int
    steady: bool


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection while a block is timed.

    There is none right before a block either: with torch loaded, a full collection takes 100 ms, in which a GPU would lower its
    clocks. What a block leaves behind is freed by reference counting; `settle_collector` deals with the rest.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle_collector(set_aside: bool) -> None:
    """Collects what was left behind, outside of anything timed.

    With `set_aside`, later collections skip all objects that exist now, such as a library's own hundreds of thousands. They
    then look at a job's objects only, and take milliseconds instead of 100.
    """
    gc.collect()
    if set_aside:
        gc.freeze()


def first_call(subject: Subject) -> int:
    """Times the very first call, nanoseconds; it includes tracing, compiling and loading kernels."""
    start = subject.clock()
    out = subject.call(*subject.inputs[0])
    subject.wait(out)
    elapsed = subject.clock() - start
    subject.last = subject.keep(out)
    return elapsed


def latency_calls(subject: Subject, calls: int) -> list[int]:
    """Times calls one by one, each waited for, nanoseconds.

    The previous output is let go of outside the timed span: freeing a large array can cost as much as computing it.
    """
    if subject.calls_per_sample > 1:
        return _grouped_calls(subject, calls)
    call, wait, clock = subject.call, subject.wait, subject.clock
    samples = [0] * calls
    out = None
    for index, inputs in enumerate(subject.turns(calls)):
        del out
        start = clock()
        out = call(*inputs)
        wait(out)
        samples[index] = clock() - start
    subject.last = out
    return samples


def _grouped_calls(subject: Subject, samples: int) -> list[int]:
    """The same where one call takes too few steps of the clock: each sample is the mean of some calls, back to back, each
    waited for. Outputs but the last one are let go of within the span, as there is no time outside."""
    call, wait, clock, size = subject.call, subject.wait, subject.clock, subject.calls_per_sample
    found = []
    out = None
    for _ in range(samples):
        turns = subject.turns(size)
        out = None
        start = clock()
        for inputs in turns:
            out = call(*inputs)
            wait(out)
        found.append(round((clock() - start) / size))
    subject.last = out
    return found


def throughput_calls(subject: Subject, calls: int) -> float:
    """Queues calls back to back, waits once, and gives the nanoseconds per call.

    Outputs are let go of as soon as the next call is queued, as a real program would: every library here runs one
    stream in order, so the last output's completion implies that of all before it, and keeping 20 ms worth of outputs
    would need tens of gigabytes on a large GPU.
    """
    call, submit, clock = subject.call, subject.submit, subject.clock
    turns = subject.turns(calls)
    out = None
    start = clock()
    for inputs in turns:
        out = call(*inputs)
        submit(out)
    subject.wait(out)
    elapsed = clock() - start
    subject.last = out
    return elapsed / calls


def clock_tick_ns(clock: Clock, stated_ns: float = 0.0) -> float:
    """The steps in which a clock moves, nanoseconds: 41.67 on Apple's chips, where reading it takes less than that.

    Where successive readings are often the same, it is their smallest difference. A finer clock moves between any two readings.
    Their differences are then the time that reading takes, so the tick is the smallest difference between these. `stated_ns` is
    the tick that the system states; it counts where it is larger.
    """
    readings = [clock() for _ in range(TICK_READINGS)]
    steps = sorted({later - earlier for earlier, later in pairwise(readings)})
    if steps[0] > 0:
        steps = [later - earlier for earlier, later in pairwise(steps)]
    return max(float(min((step for step in steps if step > 0), default=1)), stated_ns)


def calls_for_sample(call_ns: float, tick_ns: float) -> int:
    """How many calls a latency sample is the mean of, so that a step of the clock is no more than TICK_FRACTION of it."""
    return max(1, math.ceil(tick_ns / (TICK_FRACTION * max(call_ns, 1.0))))


def warm_up(subject: Subject, protocol: Protocol) -> WarmUp:
    """Calls until the time per call is steady: see the `warmup_*` settings of the protocol.

    Windows of calls follow each other until two successive medians agree and nothing was compiled in between. For slow calls a
    window has fewer calls, down to one, so as not to exceed `block_cap_s`: otherwise `warmup_cap_s` would end the warm-up
    before two windows can agree.
    """
    least_s = protocol.warmup_gpu_s if subject.on_gpu else protocol.warmup_s
    started = subject.clock()

    def elapsed_s() -> float:
        return (subject.clock() - started) / 1e9

    samples: list[int] = []
    while len(samples) < protocol.warmup_calls or elapsed_s() < least_s:
        samples += latency_calls(subject, 1)
        if elapsed_s() > protocol.warmup_cap_s:
            return WarmUp(median(samples), len(samples), steady=False)
    size = max(1, min(protocol.warmup_window, int(protocol.block_cap_s * 1e9 / max(median(samples), 1))))
    previous = median(samples[-size:])
    while elapsed_s() <= protocol.warmup_cap_s:
        compilations = subject.compilations()
        window: list[int] = []
        while len(window) < size and elapsed_s() <= protocol.warmup_cap_s:
            window += latency_calls(subject, 1)
        samples += window
        current = median(window) if window else previous
        steady = abs(current - previous) <= protocol.warmup_tolerance * previous
        if steady and len(window) == size and subject.compilations() == compilations:
            return WarmUp(current, len(samples), steady=True)
        previous = current
    return WarmUp(previous, len(samples), steady=False)


def calls_for_block(call_ns: float, protocol: Protocol, calls_per_sample: int = 1) -> int:
    """Samples of a latency block, each the mean of some calls: at least `block_calls` of them and `block_ms`, but fewer where
    they would exceed `block_cap_s`."""
    sample_ns = max(call_ns, 1.0) * calls_per_sample
    enough = max(protocol.block_calls, math.ceil(protocol.block_ms * 1e6 / sample_ns))
    affordable = int(protocol.block_cap_s * 1e9 / sample_ns)
    return max(1, min(enough, affordable))


def calls_for_throughput(subject: Subject, call_ns: float, protocol: Protocol) -> int:
    """Calls to queue so that they take `block_ms` together, found by trying: queued calls can be far cheaper than waited ones.
    One, if a single call takes as long as a block may."""
    if _fills_block(call_ns, protocol):
        return 1
    wanted_ns = protocol.block_ms * 1e6
    calls = max(1, math.ceil(wanted_ns / max(call_ns, 1.0)))
    for _ in range(4):
        total_ns = throughput_calls(subject, calls) * calls
        if total_ns >= wanted_ns:
            break
        calls = math.ceil(calls * min(10.0, 1.1 * wanted_ns / max(total_ns, 1.0)))
    return calls


def _fills_block(call_ns: float, protocol: Protocol) -> bool:
    """Whether one call takes as long as a block may."""
    return call_ns >= protocol.block_cap_s * 1e9


def keep_warm(subject: Subject, protocol: Protocol) -> None:
    """Untimed calls before a block: on a GPU long enough to bring the clocks back up, on a CPU one, for the caches.

    While another arm was being timed, this one was idle; its first calls would pay for that. On a CPU, a call that takes as
    long as a block may needs none: it fills the caches in a hundredth of its own time.
    """
    if not subject.on_gpu and _fills_block(subject.call_ns, protocol):
        return
    until = subject.clock() + (protocol.keep_warm_ms * 1e6 if subject.on_gpu else 0)
    while True:
        subject.run()
        if subject.clock() >= until:
            return


def latency_block(subject: Subject, samples: int, protocol: Protocol) -> list[int]:
    """One block in latency mode: nanoseconds of a call in each sample, in order.

    The last output is copied as soon as it is there, so that the check finds one that is completed only later.
    """
    with collector_off():
        keep_warm(subject, protocol)
        found = latency_calls(subject, samples)
        subject.last = subject.keep(subject.last)
        return found


def throughput_block(subject: Subject, calls: int, protocol: Protocol, parts: int = PARTS) -> list[float]:
    """One block in throughput mode: nanoseconds per call in each of its parts, which follow each other."""
    with collector_off():
        keep_warm(subject, protocol)
        found = [throughput_calls(subject, size) for size in _split(calls, min(parts, calls))]
        subject.last = subject.keep(subject.last)
        return found


def _split(calls: int, parts: int) -> list[int]:
    """Splits a number of calls into parts that are as equal as possible."""
    return [calls // parts + (number < calls % parts) for number in range(parts)]
