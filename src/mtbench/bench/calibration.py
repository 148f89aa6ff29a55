"""What a worker measures of its own library and device: peak rates, which no honest result exceeds by much, and a canary."""

import time
from collections.abc import Callable

import numpy as np

from mtbench.bench.blocks import Subject, collector_off, latency_calls
from mtbench.frameworks.base import Framework
from mtbench.operators.base import ITEM_BYTES

MakeSubject = Callable[..., Subject]  # (call, input sets, wait=...)

MATMUL_SIZES = [128 << step for step in range(8)]
COPY_SIZES = [1 << (14 + 2 * step) for step in range(9)]
"""Matrix sides, up to 16384, and array lengths, up to 2^30 values."""

ENOUGH_NS = 10e6
TRIES = 5

CANARY_CALLS = 3
CANARY_NS = 0.3e6
CANARY_SIZES = [128 << step for step in range(7)]


def peak_rates(
    framework: Framework, make_subject: MakeSubject, dtype: str, seed: int, budget_s: float
) -> dict[str, float]:
    """The best FLOP/s of a matrix product and bytes/s of a copy (each value read and written) in a dtype.

    Sizes rise until a call takes 10 ms or the budget for each of the two is spent. Completed by `settle`, so that a
    `wait` that does not wait cannot raise the bar for itself.
    """
    rng = np.random.default_rng(seed)

    def product(size: int) -> tuple[Subject, float]:
        a, b = (framework.array(rng.standard_normal((size, size), np.float32), dtype) for _ in range(2))
        return make_subject(framework.xp.matmul, [[a, b]], wait=framework.settle), 2.0 * size**3

    def copy(size: int) -> tuple[Subject, float]:
        x = framework.array(np.ones(size, np.float32), dtype)
        return make_subject(lambda array: array + 1, [[x]], wait=framework.settle), 2.0 * size * ITEM_BYTES[dtype]

    with collector_off():
        return {
            "flops_per_s": _best(product, MATMUL_SIZES, budget_s),
            "bytes_per_s": _best(copy, COPY_SIZES, budget_s),
        }


def hatch(framework: Framework, make_subject: MakeSubject) -> Subject:
    """A canary: the smallest product of square float32 matrices that takes 0.3 ms here.

    That is far above the clock's resolution and the jitter of a launch, and three calls are a small part of a round.
    """
    for size in CANARY_SIZES:
        square = framework.array(np.eye(size, dtype=np.float32), "float32")
        bird = make_subject(framework.xp.matmul, [[square, square]])
        if min(latency_calls(bird, CANARY_CALLS)) > CANARY_NS:
            break
    return bird


def _best(make: Callable[[int], tuple[Subject, float]], sizes: list[int], budget_s: float) -> float:
    """The best work per second over problems of rising size, each tried a few times."""
    best = 0.0
    until = time.monotonic() + budget_s
    for size in sizes:
        try:
            subject, work = make(size)
            subject.run()
            fastest = min(latency_calls(subject, TRIES))
        except (MemoryError, RuntimeError):  # too large for what is free; the smaller ones stand
            if best > 0:
                break
            raise
        subject.last = None
        best = max(best, work / (fastest * 1e-9))
        if fastest > ENOUGH_NS or time.monotonic() > until:
            break
    return best
