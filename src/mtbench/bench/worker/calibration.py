"""What a worker measures of its own library and device: peak rates, which bound every result, and a canary."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from mtbench.bench.rates import Rates
from mtbench.bench.worker import blocks
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Mismatch
from mtbench.frameworks.base import Framework
from mtbench.operators.base import ITEM_BYTES
from mtbench.plan.protocol import Protocol
from mtbench.results.limits import AGREEMENT, higher

MakeSubject = Callable[..., Subject]  # (call, input sets, wait=...)

PRODUCT_SIDES = [256 << step for step in range(7)]
WORKING_SETS = [1 << step for step in range(16, 31)]
"""Matrix sides, up to 16384, and bytes, 64 KiB to 1 GiB. Each is twice the last: a cache's edge falls between neighbours."""

PRODUCT_COPIES, MOVE_COPIES = 4, 2
"""Memory of a problem with its results: two factors and two products; a working set and two results of half its size."""

BEYOND_CACHE = 4
"""The largest working set on a CPU is this many times its last-level cache."""

PRODUCT_BLOCK_MS, MOVE_BLOCK_MS, MOVE_KEEP_WARM_MS = 10.0, 5.0, 10.0
BLOCKS = 3
"""Shorter and fewer blocks than an operator's, since the best one counts and not the median, and neighbouring sizes confirm it.
Moving data comes after the products, which have brought a GPU's clocks up."""

LONG_NS = 20e6
"""A call that takes longer gains nothing from a queue: it is waited for, and larger problems are not tried."""

BRIEF_NS = LONG_NS / 64
"""A brief measurement leaves out products that take less. With LONG_NS, the two or three largest sides remain."""

GROWTH, LOOKS_AT_A_SIDE = 8, 10
"""The next side's product takes GROWTH times as long, in LOOKS_AT_A_SIDE calls. Without time for it, a brief measurement
ends."""

DIP, DIP_CHANCES = 2, 2
"""A working set whose rate is less than 1 / DIP of a neighbour's is measured again, up to DIP_CHANCES times."""

LAGGARD, JUDGED_BYTES = 3, 1 << 20
"""A way of moving data that is LAGGARD times slower than the best, at JUDGED_BYTES or more, is not tried at larger sizes."""

UNDONE_NS, UNDONE_FACTOR = 1e6, 4
"""A call longer than UNDONE_NS cannot be UNDONE_FACTOR times faster when it is queued, unless it is not done at all, or waiting
itself takes that long. Beside a load of 20 on two processors, waiting took at least 1.8 ms in each of 25 tries."""

UNDONE_TRIES, MOST_UNDONE_TRIES = 25, 200
"""How often waiting for next to nothing must be quick before a library is accused, and how often that is tried at most."""

CANARY_CALLS, CANARY_KEEP_WARM_MS = 3, 1.0
"""The canary comes right after a round's blocks, so that a GPU's clocks are up."""

CANARY_NS = 0.3e6
CANARY_SIZES = [16 * round(8 * 2 ** (step / 3)) for step in range(19)]
"""128 to 8192, each about twice the work of the one before."""


@dataclass(frozen=True)
class Peak:
    """A rate that was reached, and whether the two best blocks agree on it."""

    rate: float
    sure: bool

    def best(self, other: "Peak | None") -> "Peak":
        if other is None:
            return self
        rate, sure = higher((self.rate, self.sure), (other.rate, other.sure))
        return Peak(rate or 0.0, sure)


def peak_rates(
    framework: Framework,
    make_subject: MakeSubject,
    dtype: str,
    on_gpu: bool,
    protocol: Protocol,
    budget_s: float,
    most_bytes: float = math.inf,
    brief: bool = False,
) -> Rates:
    """The best rates of matrix products and of moving data in a dtype, in queued blocks like those of any operator.

    `budget_s` is for each of the two, `most_bytes` what a problem may take with its results; the smallest is always tried.
    Blocks are completed by `settle`, so that a library whose `wait` does not wait cannot raise its own roof. Raises Mismatch
    where queued calls are not done. `brief`: the largest products first, and working sets in random order, as far as time
    allows: another look at what was measured before.

    A CPU computes a half-precision product in float32 where that is faster, as some libraries' operators do, so there the
    roof of a half dtype is not below that of float32.
    """
    tried = dict.fromkeys([dtype] if on_gpu else [dtype, "float32"])
    short = replace(protocol, block_ms=min(protocol.block_ms, PRODUCT_BLOCK_MS))
    share_s = budget_s / len(tried)
    products = [_best_product(framework, make_subject, one, short, share_s, most_bytes, brief) for one in tried]
    product = reduce(Peak.best, products)
    short = replace(
        protocol,
        block_ms=min(protocol.block_ms, MOVE_BLOCK_MS),
        keep_warm_ms=min(protocol.keep_warm_ms, MOVE_KEEP_WARM_MS),
    )
    largest = WORKING_SETS[-1] if on_gpu else BEYOND_CACHE * protocol.cold_cache_bytes
    moves = Moves(framework, make_subject, dtype, short)
    found = moves.measure(min(largest, most_bytes / MOVE_COPIES), budget_s, brief)
    return Rates(
        product.rate,
        {size: peak.rate for size, peak in sorted(found.items())},
        unsure_flops=not product.sure,
        unsure_sizes=tuple(size for size, peak in sorted(found.items()) if not peak.sure),
    )


def time_canary(canary: Subject, protocol: Protocol) -> int:
    """The shortest of the canary's calls, nanoseconds."""
    with blocks.collector_off():
        blocks.keep_warm(canary, replace(protocol, keep_warm_ms=min(protocol.keep_warm_ms, CANARY_KEEP_WARM_MS)))
        return min(blocks.latency_calls(canary, CANARY_CALLS))


def make_canary(framework: Framework, make_subject: MakeSubject) -> Subject:
    """A canary: the smallest product of square float32 matrices that takes 0.3 ms here.

    That is far above the clock's resolution and the jitter of a launch, and three calls are a small part of a round.
    """
    for size in CANARY_SIZES:
        square = framework.array(np.eye(size, dtype=np.float32), "float32")
        canary = make_subject(framework.xp.matmul, [[square, square]])
        if min(blocks.latency_calls(canary, CANARY_CALLS)) > CANARY_NS:
            break
    return canary


def _best_product(
    framework: Framework,
    make_subject: MakeSubject,
    dtype: str,
    protocol: Protocol,
    budget_s: float,
    most_bytes: float,
    brief: bool,
) -> Peak:
    """The best FLOP/s of a product of square matrices: of x @ w, and of x @ w^T, which is what a linear layer computes."""
    xp = framework.xp

    def by_transposed(x: Any, w: Any) -> Any:
        return xp.matmul(x, xp.permute_dims(w, (1, 0)))

    smallest = PRODUCT_SIDES[0]
    rng = np.random.default_rng(protocol.seed)
    tiles = [framework.array(rng.standard_normal((smallest, smallest), np.float32), dtype) for _ in range(2)]

    def products(side: int) -> list[Subject]:
        pair = [_tiled(framework, tile, (side // smallest,) * 2) for tile in tiles]
        return [make_subject(call, [pair], wait=framework.settle) for call in (xp.matmul, by_transposed)]

    until = time.monotonic() + budget_s
    sides = [side for side in PRODUCT_SIDES if PRODUCT_COPIES * side**2 * ITEM_BYTES[dtype] <= most_bytes] or [smallest]
    if brief:
        sides = _largest_first(products, sides, budget_s)
    nothing = _next_to_nothing(framework, make_subject, dtype)
    best: Peak | None = None
    for side in sides:
        longest_ns = 0.0
        try:
            for subject in products(side):
                waited_ns = _waited_ns(subject)
                longest_ns = max(longest_ns, min(waited_ns))
                best = _peak(2.0 * side**3, _blocks_ns(subject, nothing, waited_ns, protocol, BLOCKS)).best(best)
        except (MemoryError, RuntimeError):  # too large for what is free; the smaller ones stand
            if best is None and (not brief or side == sides[-1]):
                raise
            longest_ns = math.inf
        if (longest_ns > LONG_NS and not brief) or (best is not None and time.monotonic() > until):
            break
    assert best is not None
    return best


def _largest_first(products: Callable[[int], list[Subject]], sides: Sequence[int], budget_s: float) -> list[int]:
    """The sides of a brief measurement: see BRIEF_NS and GROWTH."""
    tried: dict[int, float] = {}
    for side in sides:
        try:
            call_ns = tried[side] = min(_waited_ns(products(side)[0]))
        except (MemoryError, RuntimeError):
            break
        if call_ns > LONG_NS or LOOKS_AT_A_SIDE * GROWTH * call_ns > budget_s * 1e9:
            break
    return [side for side in reversed(tried) if tried[side] > BRIEF_NS] or list(tried)[-1:] or list(sides[:1])


class Moves:
    """The best bytes/s by working set, of reading all of it, and of reading one half and writing the other.

    Which way is best differs: a sum writes nothing, concatenating computes nothing, adding is what libraries tune most. A
    result is a fresh array, as an operator's is; on a CPU the system may have to find memory for it, so that sums win.
    """

    def __init__(self, framework: Framework, make_subject: MakeSubject, dtype: str, protocol: Protocol) -> None:
        xp = framework.xp
        self.framework, self.make_subject, self.dtype, self.protocol = framework, make_subject, dtype, protocol
        self.rng = np.random.default_rng(protocol.seed)
        smallest = WORKING_SETS[0] // ITEM_BYTES[dtype]
        self.nothing = _next_to_nothing(framework, make_subject, dtype)
        self.tile = framework.array(self.rng.standard_normal(smallest, np.float32), dtype)
        self.ways: dict[str, tuple[Callable[..., Any], Callable[[Any, int], list[Any]]]] = {
            "sum": (lambda x: xp.sum(x, keepdims=True), lambda whole, quarter: [whole]),
            "add": (lambda x: x + 1, lambda whole, quarter: [whole[: 2 * quarter]]),
            "concat": (
                lambda x, y: xp.concat([x, y]),
                lambda whole, quarter: [whole[:quarter], whole[quarter : 2 * quarter]],
            ),
        }
        self.laggards: dict[str, int] = {}

    def measure(self, largest: float, budget_s: float, brief: bool) -> dict[int, Peak]:
        """The peak at each size up to the largest, as far as memory and time allow; what lies far below a neighbour is measured
        again, since no level of a memory hierarchy is that thin."""
        sizes = [size for size in WORKING_SETS if size <= max(largest, WORKING_SETS[0])]
        if brief:
            np.random.default_rng().shuffle(sizes)
        found: dict[int, Peak] = {}
        until = time.monotonic() + budget_s
        for size in sizes:
            if found and time.monotonic() > until:
                break
            try:
                found[size] = self._peak(size)
            except (MemoryError, RuntimeError):
                if not found and (not brief or size == sizes[-1]):
                    raise
                if not brief:  # a brief one goes on to other sizes
                    break
        for _ in range(0 if brief else DIP_CHANCES):
            for size in dips(found):
                if time.monotonic() > until + budget_s:
                    break
                found[size] = self._peak(size).best(found[size])
        still = {size for size in found if not brief and _is_notch(found, size)}
        return {size: replace(peak, sure=peak.sure and size not in still) for size, peak in found.items()}

    def _peak(self, working_set: int) -> Peak:
        whole = _tiled(self.framework, self.tile, (working_set // WORKING_SETS[0],))
        subjects = {}
        tried = [way for way in self.ways if working_set <= self.laggards.get(way, working_set)]
        for way in tried or self.ways:  # on a busy machine each may have lagged once
            call, parts = self.ways[way]
            arrays = parts(whole, working_set // 4 // ITEM_BYTES[self.dtype])
            self.framework.settle(arrays)
            subjects[way] = self.make_subject(call, [arrays], wait=self.framework.settle)
        waited_ns = {way: _waited_ns(subject) for way, subject in subjects.items()}
        once_ns = {way: self._blocks_ns(subjects[way], waited_ns[way], 1) for way in subjects}
        best = min(once_ns, key=lambda way: min(once_ns[way]))
        if working_set >= JUDGED_BYTES:
            for way, ns in once_ns.items():
                if min(ns) > LAGGARD * min(once_ns[best]):
                    self.laggards[way] = min(working_set, self.laggards.get(way, working_set))
        again_ns = self._blocks_ns(subjects[best], waited_ns[best], BLOCKS - 1)
        return _peak(working_set, [*once_ns[best], *again_ns])

    def _blocks_ns(self, subject: Subject, waited_ns: Sequence[float], count: int) -> list[float]:
        return _blocks_ns(subject, self.nothing, waited_ns, self.protocol, count)


def dips(found: Mapping[int, Peak]) -> list[int]:
    """The sizes whose rate is less than half of a neighbour's."""
    sizes = sorted(found)
    pairs = [*pairwise(sizes), *((larger, smaller) for smaller, larger in pairwise(sizes))]
    return sorted({low for low, high in pairs if found[low].rate * DIP < found[high].rate})


def _is_notch(found: Mapping[int, Peak], size: int) -> bool:
    """Whether the rate at this size is less than half of that at a smaller size and of that at a larger size. That is not a
    cache's edge, beyond which all sizes are slow."""
    sides = (
        [found[other].rate for other in found if other < size],
        [found[other].rate for other in found if other > size],
    )
    return all(found[size].rate * DIP < max(side, default=0.0) for side in sides)


def _peak(work: float, blocks_ns: Sequence[float]) -> Peak:
    """The rate of the best block. It is sure if the second best agrees."""
    best, *others = sorted(blocks_ns)
    return Peak(work / (best * 1e-9), bool(others) and others[0] <= (1 + AGREEMENT) * best)


def _tiled(framework: Framework, tile: Any, repetitions: tuple[int, ...]) -> Any:
    """A large array made on the device: drawing a gigabyte of numbers on the host takes seconds."""
    array = framework.xp.tile(tile, repetitions)
    framework.settle(array)
    return array


def _waited_ns(subject: Subject) -> list[int]:
    """Times of calls that are waited for, after a first one that compiles and loads what is needed."""
    subject.run()
    waited = blocks.latency_calls(subject, 2)
    subject.last = None
    return waited


def _next_to_nothing(framework: Framework, make_subject: MakeSubject, dtype: str) -> Subject:
    """A call that takes next to no time, apart from waiting for it."""
    return make_subject(lambda x: x + 1, [[framework.array(np.zeros(16, np.float32), dtype)]], wait=framework.settle)


def _blocks_ns(
    subject: Subject, nothing: Subject, waited_ns: Sequence[float], protocol: Protocol, count: int
) -> list[float]:
    """Nanoseconds per call in `count` blocks of queued calls; the times of the calls that were waited for, where these are
    long. Raises Mismatch where queued calls are not done."""
    shortest = min(waited_ns)
    if shortest > LONG_NS:
        return list(waited_ns)
    calls = blocks.calls_for_throughput(subject, shortest, protocol)
    found = [blocks.throughput_block(subject, calls, protocol, 1)[0] for _ in range(count)]
    if shortest > max(UNDONE_NS, UNDONE_FACTOR * min(found)):
        _check_done(subject, nothing, min(found))
    subject.last = None
    return found


def _check_done(subject: Subject, nothing: Subject, queued_ns: float) -> None:
    """Raises Mismatch where calls that are waited for take far longer than queued ones, and far longer than waiting takes. On a
    machine that is too busy to tell, they get the benefit of the doubt."""
    allowed_ns = max(UNDONE_NS, UNDONE_FACTOR * queued_ns)
    waited: list[int] = []
    idle: list[int] = []
    for _ in range(MOST_UNDONE_TRIES):
        waited += blocks.latency_calls(subject, 1)
        idle += blocks.latency_calls(nothing, 1)
        if min(waited) - min(idle) <= allowed_ns:
            return
        if sum(one - min(idle) <= allowed_ns for one in idle) >= UNDONE_TRIES:
            raise Mismatch(
                f"queued calls took {queued_ns / 1e3:.3g} µs each, waited ones {min(waited) / 1e3:.3g} µs: work is not done"
            )
