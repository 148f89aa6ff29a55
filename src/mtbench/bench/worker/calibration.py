"""What a worker measures of its own library and device: peak rates, which bound every result, and a canary."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mtbench.bench.rates import Rates
from mtbench.bench.worker import blocks
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Mismatch
from mtbench.frameworks.base import Framework
from mtbench.operators.base import ITEM_BYTES
from mtbench.protocol import Protocol

MakeSubject = Callable[..., Subject]  # (call, input sets, wait=...)

PRODUCT_SIDES = [256 << step for step in range(7)]
WORKING_SETS = [1 << step for step in range(16, 31)]
"""Matrix sides, up to 16384, and bytes, 64 KiB to 1 GiB. Steps of two, so that a cache's edge falls between neighbours."""

BEYOND_CACHE = 4
"""The largest working set on a CPU is this many times its last-level cache."""

PRODUCT_BLOCK_MS, MOVE_BLOCK_MS, MOVE_KEEP_WARM_MS = 10.0, 5.0, 10.0
BLOCKS = 3
"""Shorter and fewer blocks than an operator's, since the best is wanted and not the middle, and neighbouring sizes repeat
it. Moving data comes after the products, which have brought a GPU's clocks up."""

LONG_NS = 20e6
"""A call that takes longer gains nothing from a queue: it is waited for, and larger problems are not tried."""

LAGGARD, JUDGED_BYTES = 3, 1 << 20
"""A way of moving data that is so many times slower than the best at this size or a larger one is not tried beyond it."""

UNDONE_NS, UNDONE_FACTOR, UNDONE_TRIES = 1e6, 4, 25
"""A call this long cannot take so many times less when it is queued, unless it is not done at all, or whatever else the
machine does interfered with all tries."""

CANARY_CALLS, CANARY_KEEP_WARM_MS = 3, 1.0
"""The canary comes right after a round's blocks, so that a GPU's clocks are up."""

CANARY_NS = 0.3e6
CANARY_SIZES = [16 * round(8 * 2 ** (step / 3)) for step in range(19)]
"""128 to 8192, each about twice the work of the one before."""


def peak_rates(
    framework: Framework, make_subject: MakeSubject, dtype: str, on_gpu: bool, protocol: Protocol, budget_s: float
) -> Rates:
    """The best rates of matrix products and of moving data in a dtype, in queued blocks like those of any operator.

    `budget_s` is for each of the two. Blocks are completed by `settle`, so that a `wait` that does not wait cannot raise the
    bar for itself. Raises Mismatch where queued calls are not done.

    A CPU computes a half-precision product in float32 where that is faster, as some libraries' operators do, so there the
    roof of a half dtype is not below that of float32.
    """
    tried = dict.fromkeys([dtype] if on_gpu else [dtype, "float32"])
    short = replace(protocol, block_ms=min(protocol.block_ms, PRODUCT_BLOCK_MS))
    products = max(_best_product(framework, make_subject, one, short, budget_s / len(tried)) for one in tried)
    short = replace(
        protocol,
        block_ms=min(protocol.block_ms, MOVE_BLOCK_MS),
        keep_warm_ms=min(protocol.keep_warm_ms, MOVE_KEEP_WARM_MS),
    )
    largest = WORKING_SETS[-1] if on_gpu else BEYOND_CACHE * protocol.cold_cache_bytes
    return Rates(products, _moves(framework, make_subject, dtype, short, largest, budget_s))


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
    framework: Framework, make_subject: MakeSubject, dtype: str, protocol: Protocol, budget_s: float
) -> float:
    """The best FLOP/s of a product of square matrices: of x @ w, and of x @ w^T, which is what a linear layer computes."""
    xp = framework.xp

    def by_transposed(x: Any, w: Any) -> Any:
        return xp.matmul(x, xp.permute_dims(w, (1, 0)))

    smallest = PRODUCT_SIDES[0]
    rng = np.random.default_rng(protocol.seed)
    tiles = [framework.array(rng.standard_normal((smallest, smallest), np.float32), dtype) for _ in range(2)]
    best = 0.0
    until = time.monotonic() + budget_s
    for side in PRODUCT_SIDES:
        longest_ns = 0.0
        try:
            pair = [_tiled(framework, tile, (side // smallest,) * 2) for tile in tiles]
            for call in (xp.matmul, by_transposed):
                subject = make_subject(call, [pair], wait=framework.settle)
                waited_ns = _waited_ns(subject)
                longest_ns = max(longest_ns, waited_ns)
                best = max(best, 2.0 * side**3 / (_best_block_ns(subject, waited_ns, protocol, BLOCKS) * 1e-9))
        except (MemoryError, RuntimeError):  # too large for what is free; the smaller ones stand
            if best == 0:
                raise
            break
        if longest_ns > LONG_NS or time.monotonic() > until:
            break
    return best


def _moves(
    framework: Framework, make_subject: MakeSubject, dtype: str, protocol: Protocol, largest: int, budget_s: float
) -> dict[int, float]:
    """The best bytes/s by working set, of reading all of it, and of reading one half and writing the other.

    Which way is best differs: a sum writes nothing, concatenating computes nothing, adding is what libraries tune most. A
    result is a fresh array, as an operator's is; on a CPU the system may have to find memory for it, so that sums win.
    """
    xp = framework.xp
    ways: dict[str, tuple[Callable[..., Any], Callable[[Any, int], list[Any]]]] = {
        "sum": (lambda x: xp.sum(x, keepdims=True), lambda whole, quarter: [whole]),
        "add": (lambda x: x + 1, lambda whole, quarter: [whole[: 2 * quarter]]),
        "concat": (
            lambda x, y: xp.concat([x, y]),
            lambda whole, quarter: [whole[:quarter], whole[quarter : 2 * quarter]],
        ),
    }
    smallest = WORKING_SETS[0] // ITEM_BYTES[dtype]
    rng = np.random.default_rng(protocol.seed)
    tile = framework.array(rng.standard_normal(smallest, np.float32), dtype)
    found: dict[int, float] = {}
    until = time.monotonic() + budget_s
    for working_set in WORKING_SETS:
        if found and (working_set > largest or time.monotonic() > until):
            break
        rates: dict[str, float] = {}
        try:
            whole = _tiled(framework, tile, (working_set // WORKING_SETS[0],))
            subjects = {}
            for way, (call, parts) in ways.items():
                arrays = parts(whole, working_set // 4 // ITEM_BYTES[dtype])
                framework.settle(arrays)
                subjects[way] = make_subject(call, [arrays], wait=framework.settle)
            waited_ns = {way: _waited_ns(subject) for way, subject in subjects.items()}
            for way, subject in subjects.items():
                rates[way] = working_set / (_best_block_ns(subject, waited_ns[way], protocol, 1) * 1e-9)
            best = max(rates, key=rates.__getitem__)
            again_ns = _best_block_ns(subjects[best], waited_ns[best], protocol, BLOCKS - 1)
        except (MemoryError, RuntimeError):
            if not found:
                raise
            break
        found[working_set] = max(rates[best], working_set / (again_ns * 1e-9))
        if working_set >= JUDGED_BYTES:
            ways = {way: ways[way] for way in ways if rates[way] * LAGGARD > rates[best]}
    return found


def _tiled(framework: Framework, tile: Any, repetitions: tuple[int, ...]) -> Any:
    """A large array made on the device: drawing a gigabyte of numbers on the host takes seconds."""
    array = framework.xp.tile(tile, repetitions)
    framework.settle(array)
    return array


def _waited_ns(subject: Subject) -> float:
    """A call that is waited for, after one that compiles and loads whatever it needs."""
    subject.run()
    waited = min(blocks.latency_calls(subject, 2))
    subject.last = None
    return waited


def _best_block_ns(subject: Subject, waited_ns: float, protocol: Protocol, count: int) -> float:
    """Nanoseconds per call in the best of some blocks."""
    if waited_ns > LONG_NS:
        return waited_ns
    calls = blocks.calls_for_throughput(subject, waited_ns, protocol)
    best_ns = min(blocks.throughput_block(subject, calls, protocol, 1)[0] for _ in range(count))
    if waited_ns > max(UNDONE_NS, UNDONE_FACTOR * best_ns):
        waited_ns = min(blocks.latency_calls(subject, UNDONE_TRIES))
    subject.last = None
    if waited_ns > max(UNDONE_NS, UNDONE_FACTOR * best_ns):
        raise Mismatch(
            f"queued calls took {best_ns / 1e3:.3g} µs each, waited ones {waited_ns / 1e3:.3g} µs: work is not done"
        )
    return best_ns
