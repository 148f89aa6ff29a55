"""Who is faster: two arms measured in the same rounds, judged by one rule wherever a verdict is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import NormalDist, median

from mtbench.results import stats
from mtbench.results.inference import FEWEST_RESTARTS, Prior, on_ticks, over_restarts
from mtbench.results.record import Record
from mtbench.results.stats import Comparison

ALPHA = 0.05
"""A table's chance of any false verdict."""

THRESHOLD, HIGHEST_THRESHOLD = 0.01, 0.03
"""The least difference that matters. It rises with the width of the final interval, to what could just be detected, but not
beyond 3 %, or a cell measured badly would count as equivalent."""

UNKNOWN_SPREAD = 0.12
"""Between sessions, where only one restart was measured: ten starts of one program differed by 5 to 12 % on a shared
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


def compare(
    a: Blocks, b: Blocks, least: float | None = None, *, tick_ns: float | None = None, prior: Prior | None = None
) -> Comparison | None:
    """B's times against A's over the rounds that both have; None where there is no such round.

    The ratio is that of the middle restart, each represented by the median of its rounds' ratios and counting alike, however
    many rounds it has. Its bounds are those of `inference.around`: what differs between restarts is in them, estimated from
    three restarts on and assumed below (`spread_assumed`). Of one restart with fewer than six rounds nothing is concluded.

    `least` is the difference that matters, by default that of `threshold`. `tick_ns` is the tick of the clock where blocks
    are medians of single calls: no bound is nearer than half a tick of each arm. `prior` is what earlier sweeps of this machine
    say of the variance between restarts of a ratio's logarithm (`moderated.learn`): it shortens the interval, and never
    makes a difference significant.

    The verdict is of this comparison alone: those of one table are corrected together by `corrected`.
    """
    rounds = sorted(a.keys() & b.keys())
    if not rounds:
        return None
    restarts = log_ratios(a, b)
    _, within_run = stats.median_rank(len(rounds), 1 - ALPHA)
    enough = len(restarts) > 1 or within_run >= 1 - ALPHA
    bounds = over_restarts(restarts, arms=2, confidence=1 - ALPHA, prior=prior)
    estimate, low, high = float(bounds.estimate), float(bounds.low), float(bounds.high)
    p_value = float(bounds.p_value) if enough else 1.0
    if tick_ns is not None:
        low, high = on_ticks(low, high, tick_ns, middle_ns(b, rounds), middle_ns(a, rounds))
        p_value = p_value if low > 0 or high < 0 else 1.0
    detectable = detectable_effect((high - low) / 2) if enough else math.inf
    matters = threshold(detectable) if least is None else least
    ratio, low, high = math.exp(estimate), math.exp(low), math.exp(high)
    word = stats.verdict(low, high, ratio, matters) if enough else "inconclusive"
    return Comparison(
        ratio=ratio,
        low=low,
        high=high,
        confidence=1 - ALPHA if enough else within_run,
        p_value=p_value,
        pairs=len(rounds),
        verdict=word if _stands(word, p_value) else "inconclusive",
        smallest_detectable=detectable,
        threshold=matters,
        restarts=len(restarts),
        spread_assumed=len(restarts) < FEWEST_RESTARTS and prior is None,
    )


def log_ratios(a: Blocks, b: Blocks) -> list[list[float]]:
    """ln(B / A) of the rounds that both have, by restart."""
    rounds = sorted(a.keys() & b.keys())
    return [[math.log(b[r] / a[r]) for r in restart] for _, restart in groupby(rounds, key=lambda round_: round_[0])]


def middle_ns(blocks: Blocks, rounds: Sequence[tuple[int, int]]) -> float:
    """The median over restarts of each restart's median over these rounds."""
    return median(
        median(blocks[r] for r in restart) for _, restart in groupby(sorted(rounds), key=lambda round_: round_[0])
    )


def detectable_effect(half_width: float) -> float:
    """The relative difference that is found four times in five, where an interval reaches so far (logarithms) to either side.

    The interval reaches z_{1-alpha/2} standard errors, and a difference of z_{1-alpha/2} + z_{0.8} of them is found that often.
    """
    quantile = NormalDist().inv_cdf
    return math.expm1(half_width * (1 + quantile(0.8) / quantile(1 - ALPHA / 2)))


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table with p values adjusted for their number (Holm).

    The table is what a reader reads at once: all comparisons of one arm with the baseline in one section of a page. A
    faster or slower whose adjusted p value exceeds ALPHA is inconclusive, so the chance of any false one in the table is
    ALPHA at most.
    """
    adjusted = stats.holm([comparison.p_value for comparison in found])
    return [
        replace(one, p_value=p_value, verdict=one.verdict if _stands(one.verdict, p_value) else "inconclusive")
        for one, p_value in zip(found, adjusted, strict=True)
    ]


def _stands(verdict: str, p_value: float) -> bool:
    return verdict not in ("faster", "slower") or p_value <= ALPHA
