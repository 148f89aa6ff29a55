"""Who is faster: two arms measured in the same rounds, judged by one rule wherever a verdict is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import median

from mtbench.results import stats
from mtbench.results.record import Record
from mtbench.results.stats import Comparison

ALPHA = 0.05
"""A table's chance of any false verdict."""

THRESHOLD, HIGHEST_THRESHOLD = 0.01, 0.03
"""The least difference that matters. It rises with the noise: of equal arms with 3 % between blocks, 40 rounds called
5.3 % different at a fixed 1 %, and 0.6 % so. But not beyond 3 %, or a cell measured badly would count as equivalent."""

UNKNOWN_SPREAD = 0.12
"""Between lives of a process, where only one was measured: ten starts of one program differed by 5 to 12 % on a shared
machine."""

Blocks = Mapping[tuple[int, int], float]
"""A job's block statistics by restart and round."""


def latency_blocks(record: Record) -> Blocks:
    """The medians of a record's latency blocks, nanoseconds."""
    return {
        (restart, number): median(calls)
        for restart, rounds in enumerate(record.latency_samples_ns)
        for number, calls in enumerate(rounds)
        if calls
    }


def throughput_blocks(record: Record) -> Blocks:
    """A record's throughput blocks, nanoseconds per call."""
    return {
        (restart, number): call_ns
        for restart, rounds in enumerate(record.throughput_samples_ns)
        for number, call_ns in enumerate(rounds)
    }


def threshold(smallest_detectable: float) -> float:
    """The difference that matters where this is the smallest one that the measurement can detect."""
    return min(max(smallest_detectable, THRESHOLD), HIGHEST_THRESHOLD)


def compare(a: Blocks, b: Blocks, least: float | None = None) -> Comparison | None:
    """B's times against A's over the rounds that both have; None where there is no such round.

    `least` is the difference that matters, by default that of `threshold`. The verdict is of this comparison alone:
    those of one table are corrected together by `corrected`.
    """
    rounds = sorted(a.keys() & b.keys())
    if not rounds:
        return None
    times = [a[r] for r in rounds], [b[r] for r in rounds]
    if least is None:
        logs = [math.log(after / before) for before, after in zip(*times, strict=True)]
        least = threshold(stats.smallest_detectable_effect(logs, alpha=ALPHA))
    found = stats.compare_paired(*times, threshold=least, confidence=1 - ALPHA)
    lives = [median(math.log(b[r] / a[r]) for r in life) for _, life in groupby(rounds, key=lambda round_: round_[0])]
    return _over_lives(found, lives, least)


def _over_lives(found: Comparison, lives: Sequence[float], least: float) -> Comparison:
    """The comparison with its interval widened to hold what differs between lives of the workers.

    Rounds of one restart share what is peculiar to that life of the processes, so they alone make too narrow an interval:
    with 1 % between lives and three restarts, equal arms were called different in 23 % of all cases, and with one restart on a
    GPU in 8 of 20. Student's interval over the restarts' log ratios holds it, wide as it is for two or three restarts; of one
    restart nothing is known, so UNKNOWN_SPREAD is assumed. A large difference is still seen. A restart is represented by its
    median: one round that a neighbour disturbed moves a mean of ten by per cents. On two shared cores, in 144 comparisons of
    arms whose true ratio was known, that took the root mean square error from 1.44 to 0.95 %, with as many intervals that hold
    the truth.
    """
    if len(lives) < 2:
        low, high = found.low / (1 + UNKNOWN_SPREAD), found.high * (1 + UNKNOWN_SPREAD)
    else:
        over_lives = stats.mean_interval(lives, 1 - ALPHA)
        low = min(found.low, math.exp(over_lives.low))
        high = max(found.high, math.exp(over_lives.high))
    enough = found.confidence >= 1 - ALPHA
    word = stats.verdict(low, high, found.ratio, least) if enough else "inconclusive"
    return replace(found, low=low, high=high, verdict=word)


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table with p values adjusted for their number (Holm).

    A faster or slower whose adjusted p value exceeds ALPHA is inconclusive.
    """

    def stands(one: Comparison, p_value: float) -> bool:
        return one.verdict not in ("faster", "slower") or p_value <= ALPHA

    adjusted = stats.holm([comparison.p_value for comparison in found])
    return [
        replace(one, p_value=p_value, verdict=one.verdict if stands(one, p_value) else "inconclusive")
        for one, p_value in zip(found, adjusted, strict=True)
    ]
