"""Intervals and comparisons of measured times, without assuming that they are normal: they are skewed and have tails.

What goes in are block statistics, one value per block, never single calls: successive calls are autocorrelated (0.7 to
0.8), and an interval from them is far too narrow. What is compared is paired by rounds, so that whatever slows the
machine down slows both arms down. What restarts of the workers add to it is in `inference`. SciPy is imported inside functions,
because it takes half a second. scipy.stats, which takes three times as long, is never imported in a sweep.

Sources, by the names that docstrings use:
- Conover: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 1999.
- Hahn & Meeker: W. Q. Meeker, G. J. Hahn, L. A. Escobar, Statistical Intervals, 2nd ed., 2017.
- Hollander: M. Hollander, D. A. Wolfe, E. Chicken, Nonparametric Statistical Methods, 3rd ed., 2014.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.results.signed_rank import signed_rank
from mtbench.results.verdicts import Comparison


def load() -> None:
    """Imports what these functions need, which takes a moment, at a time when nobody waits for it."""
    import scipy.special  # noqa: F401


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds.

    `confidence` is the one achieved: at least what was asked for where the sample is large enough, and what the bounds
    are really worth where it is not. It is 0 for a single value, which bounds nothing. `within_run`: it is about one run of the
    processes only, and another run may well lie outside.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    within_run: bool = False


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median with an interval between two of the values themselves.

    The number of n values below the true median is binomial(n, 1/2), so the k-th smallest and k-th largest enclose it
    with probability 1 - 2 P(B < k), whatever the distribution (Conover, section 3.2; Hahn & Meeker, section 5.2). k is
    the largest that keeps the confidence asked for; if none does (n < 6 for 95 %), k is 1: the smallest and the largest
    value with what they are worth. The values must be independent; ties only widen the coverage.

    Raises ValueError for no values, values that are not finite, or a confidence outside (0, 1).
    """
    ordered = sorted(_finite(values).tolist())
    _check_confidence(confidence)
    n = len(ordered)
    rank, achieved = median_rank(n, confidence)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Interval(middle, ordered[rank - 1], ordered[n - rank], achieved)


@lru_cache(maxsize=4096)
def median_rank(n: int, confidence: float) -> tuple[int, float]:
    """The k of `median_interval`, counted from 1, and the confidence that it achieves."""
    tail = below = choose = 1  # of 2**n: P(B <= 0), P(B <= k - 1) for the k chosen, and C(n, 0)
    rank = 1
    for count in range(1, (n - 1) // 2 + 1):
        choose = choose * (n - count + 1) // count
        tail += choose
        if 2 * tail / 2**n > 1 - confidence:
            break
        rank, below = count + 1, tail
    return rank, 1 - 2 * below / 2**n


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of independent values, about normal, with Student's interval (Student, Biometrika 6, 1908).

    Raises ValueError for fewer than two values, or values that are not finite.
    """
    from scipy.special import stdtrit

    sample = _finite(values)
    _check_confidence(confidence)
    if len(sample) < 2:
        raise ValueError("an interval of a mean needs at least two values")
    half = float(stdtrit(len(sample) - 1, (1 + confidence) / 2) * sample.std(ddof=1) / math.sqrt(len(sample)))
    mean = float(sample.mean())
    return Interval(mean, mean - half, mean + half, confidence)


def relative_half_width(interval: Interval) -> float:
    """The x of "± x" around the estimate, relative to it: the further bound's distance, as the interval is lopsided.

    Infinite where the interval bounds nothing (a single value).
    """
    if interval.confidence <= 0:
        return math.inf
    reach = max(interval.high - interval.estimate, interval.estimate - interval.low)
    return reach / abs(interval.estimate) if reach else 0.0


def compare_paired(
    a: Sequence[float], b: Sequence[float], *, threshold: float = 0.01, confidence: float = 0.95
) -> Comparison:
    """B's times against A's, round by round: a[i] and b[i] are times of the same round, in any unit, above 0.

    Per round d = ln(b/a). The ratio is exp of the Hodges-Lehmann estimate, the median of all averages of two
    differences (Walsh averages); the interval is the one that inverts Wilcoxon's signed-rank test, between two of those
    averages, by the exact null distribution (Hollander, sections 3.1 to 3.3). The test needs no more than that d and -d
    are equally likely if the arms are equal, which the random order within each round ensures.

    The verdict is that of `verdict`, and always inconclusive where the rounds are too few for the confidence (fewer
    than 6 for 95 %). Equal arms are called different in at most 1 - confidence of all cases, and in less than 1 % where
    the threshold is no smaller than `smallest_detectable`: where it is smaller, the noise asks for a larger threshold.

    Raises ValueError for times that are not finite or not above 0, unequal lengths, no times, or a threshold below 0.
    """
    if len(a) != len(b):
        raise ValueError(f"paired times come in pairs: {len(a)} of A, {len(b)} of B")
    differences = np.log(_positive(b) / _positive(a))
    _check_confidence(confidence)
    test = signed_rank(differences, confidence)
    ratio, low, high = math.exp(test.center), math.exp(test.low), math.exp(test.high)
    enough = test.confidence >= confidence
    return Comparison(
        ratio=ratio,
        low=low,
        high=high,
        confidence=test.confidence,
        p_value=test.p_value,
        pairs=len(differences),
        verdict=verdict(low, high, ratio, threshold) if enough else "inconclusive",
        smallest_detectable=smallest_detectable_effect(differences.tolist(), alpha=1 - confidence),
        threshold=threshold,
    )


def verdict(low: float, high: float, ratio: float, threshold: float) -> str:
    """What a ratio of times with its interval says of B: faster, slower, equivalent or inconclusive.

    Faster or slower: the interval excludes 1 and the ratio is beyond the threshold, the least difference that matters.
    Equivalent: the whole interval is within it and holds 1. Else nothing was shown, or a difference too small to matter.
    The threshold counts in ratios, from 1 / (1 + t) to 1 + t, so that exchanging A and B exchanges faster and slower and
    changes nothing else.

    Raises ValueError for a threshold below 0, or a ratio outside its interval.
    """
    if not threshold >= 0:
        raise ValueError(f"the threshold is a relative difference of 0 or more, not {threshold}")
    if not 0 < low <= ratio <= high:
        raise ValueError(f"the ratio {ratio} is not within its interval, {low} to {high}")
    if low > 1 and ratio > 1 + threshold:
        return "slower"
    if high < 1 and ratio < 1 / (1 + threshold):
        return "faster"
    if 1 / (1 + threshold) <= low <= 1 <= high <= 1 + threshold:
        return "equivalent"
    return "inconclusive"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a table, adjusted for how many they are, in their own order: S. Holm, Scand. J. Statist. 6, 1979.

    Rejecting those at or below alpha keeps the chance of any false rejection at or below alpha, however the tests
    depend on each other. Raises ValueError for values outside 0 to 1.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError("a p value lies between 0 and 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def smallest_detectable_effect(
    differences: Sequence[float] | float, n: int | None = None, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The relative difference that a signed-rank test of n pairs finds with this power: 0.01 is one per cent.

    `differences` are observed differences of logarithms, or their standard deviation, for which n must be given.

    delta = (z_{1-alpha/2} + z_{power}) sd / sqrt(n 3/pi), as for a t test whose sample is scaled by the asymptotic
    relative efficiency of the signed-rank test, 3/pi for normal differences (Hollander, section 3.11; E. L. Lehmann,
    Nonparametrics, 1975, section 4.3). The efficiency is never below 0.864, and above 1 with heavy tails, for which the
    answer is therefore too large rather than too small. Infinite where n pairs can never reach alpha (n < 6 for 5 %).

    Raises ValueError for values that are not finite, a negative standard deviation, or n below 1.
    """
    if isinstance(differences, (int, float)):
        deviation = float(differences)
        pairs = 0 if n is None else n
    else:
        observed = _finite(differences)
        pairs = len(observed) if n is None else n
        deviation = float(observed.std(ddof=1)) if len(observed) > 1 else math.inf
    if math.isnan(deviation) or deviation < 0 or pairs < 1:
        raise ValueError(f"no effect can be given for a standard deviation of {deviation} and {pairs} pairs")
    if 2.0 ** (1 - pairs) > alpha or math.isinf(deviation):
        return math.inf
    quantile = NormalDist().inv_cdf
    delta = (quantile(1 - alpha / 2) + quantile(power)) * deviation / math.sqrt(pairs * 3 / math.pi)
    return math.expm1(delta)


def descriptive_ratio(a: Interval, b: Interval) -> Interval:
    """B's median over A's where they were not interleaved (other sessions, other machines): descriptive, no verdict.

    If both intervals hold, so does this one; by Bonferroni that is at least the confidence given. It says nothing of
    what changed between the two sessions, which no interval from within them can know.

    Raises ValueError for bounds that are not above 0.
    """
    if not (a.low > 0 and b.low > 0):
        raise ValueError("a ratio of times needs intervals above 0")
    confidence = max(0.0, a.confidence + b.confidence - 1)
    return Interval(b.estimate / a.estimate, b.low / a.high, b.high / a.low, confidence)


def drift(times: Sequence[float], values: Sequence[float], confidence: float = 0.95) -> Interval:
    """How much a value changed from the first time to the last, as a fraction: 0.02 is 2 % slower at the end.

    The Theil-Sen slope of ln(value) over time, with Sen's interval (P. K. Sen, J. Amer. Statist. Assoc. 63, 1968), by
    the whole session. A fifth of the values may be outliers without moving it far; deviations that follow each other
    (bursts of load) make the interval too narrow, so it flags, and does not prove. With fewer than 5 values the bounds
    are the extreme slopes, which miss on either side with probability 1/n! (the orderings that are all up or all down).

    Raises ValueError for unequal lengths, values not above 0, or fewer than two different times.
    """
    moments, logs = _finite(times), np.log(_positive(values))
    _check_confidence(confidence)
    if len(moments) != len(logs):
        raise ValueError(f"{len(moments)} times and {len(logs)} values")
    span = float(np.ptp(moments))
    if span == 0:
        raise ValueError("a trend needs at least two different times")
    n = len(logs)
    first, second = np.triu_indices(n, k=1)
    apart = moments[second] != moments[first]
    slopes = np.sort((logs[second] - logs[first])[apart] / (moments[second] - moments[first])[apart])
    if n >= 5:
        (low, high), achieved = _bounds_of_slopes(slopes, moments, logs, confidence), confidence
    else:
        (low, high), achieved = (slopes[0], slopes[-1]), max(0.0, 1 - 2 / math.factorial(n))
    estimate, low, high = (math.expm1(float(slope) * span) for slope in (np.median(slopes), low, high))
    return Interval(estimate, low, high, achieved)


def _bounds_of_slopes(
    slopes: NDArray[np.float64], times: NDArray[np.float64], values: NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    """Sen's interval of a slope between two of the sorted slopes of all pairs, by the normal approximation of Kendall's
    statistic, whose variance is smaller by the ties (Sen, as above, equation 2.6; Hollander, section 9.4)."""

    def spread(count: int) -> int:
        return count * (count - 1) * (2 * count + 5)

    ties = [int(count) for each in (times, values) for count in np.unique(each, return_counts=True)[1]]
    sigma = math.sqrt(max(0, spread(len(values)) - sum(map(spread, ties))) / 18)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * sigma
    low = max(round((len(slopes) - reach) / 2) - 1, 0)
    high = min(round((len(slopes) + reach) / 2), len(slopes) - 1)
    return float(slopes[low]), float(slopes[high])


def percentile(values: Sequence[float], q: float) -> float | None:
    """The q-th percentile (q from 1 to 99, in per cent), or None where the sample is too small to say anything of it.

    Small means that not even the second most extreme value bounds the true percentile with 99 % confidence. For q >= 50
    that is P(at most one of n values lies above it) = p^n + n (1 - p) p^(n-1) > 1 %, p = q/100; below 50 likewise with
    1 - p: S. S. Wilks, Ann. Math. Statist. 12, 1941, the tolerance limit of second order (the most extreme value alone
    would be at the mercy of one accident). So the median needs 11 values, p90 64 and p99 662.

    The estimate is the median-unbiased one, definition 8 of R. J. Hyndman and Y. Fan, Amer. Statist. 50, 1996.

    Raises ValueError for no values, values that are not finite, or q outside 1 to 99.
    """
    sample = _finite(values)
    if not 1 <= q <= 99:
        raise ValueError(f"q is in per cent, 1 to 99, not {q}")
    p, n = max(q, 100 - q) / 100, len(sample)
    if p**n + n * (1 - p) * p ** (n - 1) > 0.01:
        return None
    return float(np.percentile(sample, q, method="median_unbiased"))


def outliers(values: Sequence[float]) -> list[int]:
    """Where the values are that lie far from the others, in order; they are for flagging, never for dropping.

    The modified z score of B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers, 1993, on logarithms, as
    times are skewed: |0.6745 (x - median) / MAD| > 3.5. Where more than half of the values are equal, so that the
    median absolute deviation is 0, the mean absolute deviation stands in for it: |x - median| / (1.2533 mean) > 3.5.
    A second mode that holds less than half of the values is flagged as a whole: that too should be looked at.

    Raises ValueError for no values, or values that are not finite or not above 0.
    """
    logs = np.log(_positive(values))
    distances = np.abs(logs - np.median(logs))
    scale = float(np.median(distances)) / 0.6745 or float(np.mean(distances)) * 1.2533
    return [] if scale == 0 else [int(index) for index in np.flatnonzero(distances > 3.5 * scale)]


def _finite(values: Sequence[float]) -> NDArray[Any]:
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or not len(sample):
        raise ValueError("at least one value is needed")
    if not np.isfinite(sample).all():
        raise ValueError("values must be finite numbers")
    return sample


def _positive(values: Sequence[float]) -> NDArray[Any]:
    sample = _finite(values)
    if not (sample > 0).all():
        raise ValueError("times must be above 0")
    return sample


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
