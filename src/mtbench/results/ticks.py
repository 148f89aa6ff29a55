"""The time of a block when the clock is too coarse to tell its calls apart."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from mtbench.results.inference import Floats

COARSE = 0.002
"""A tick that is a larger part of a call than this shows: the least difference that matters is 1 %."""


def block_ns(calls_ns: Sequence[float], tick_ns: float | None = None) -> float:
    """The time of a call in this block, nanoseconds: its median, or on a coarse clock the mean of the calls near it.

    Where a tick is more than COARSE of a call, a median falls on a tick: 562 and 564.5 ns on a clock of 41.67 ns become 542
    or 583. A mean does not: calls begin at random moments between two ticks, so on average their readings are their duration.
    Calls that something disturbed are left out: those further from the median than a tick and three standard deviations (by the
    median absolute deviation). In the simulation (`docs/truth.md`) 200 calls came to 0.03 to 0.04 ticks of the truth, against
    0.29 by the median, and 1.5 by a plain mean with one call in 20 disturbed.

    Raises ValueError for no calls.
    """
    if not calls_ns:
        raise ValueError("a block has at least one call")
    middle = median(calls_ns)
    if tick_ns is None or tick_ns <= COARSE * middle:
        return middle
    return float(near_mean(np.asarray(calls_ns, dtype=float), tick_ns))


def near_mean(calls_ns: Floats, tick_ns: float) -> Floats:
    """The mean of the calls (..., calls) that lie near their median."""
    middle = np.median(calls_ns, axis=-1, keepdims=True)
    apart = np.abs(calls_ns - middle)
    deviation = 1.4826 * np.median(apart, axis=-1, keepdims=True)
    near = apart <= tick_ns * np.maximum(1.5, 1 + 3 * deviation / tick_ns)
    total: Floats = (calls_ns * near).sum(axis=-1)
    mean: Floats = total / near.sum(axis=-1)
    return mean
