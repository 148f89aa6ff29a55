"""What is known of a time, or of a ratio, from several restarts of the workers: estimate, bounds and p value.

Everything here is on logarithms. A restart counts as one observation, represented by the median of its blocks: blocks of one
restart share what is peculiar to its processes, so any number of them says nothing of the next restart. `around` works on
whole arrays of experiments at once, so that `mtbench.selftest.simulation` tries the very code that judges a measurement.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.results.prior import Prior
from mtbench.results.stats import Interval, median_interval, median_rank

Floats = NDArray[np.float64]

Numbers = Floats | float


ASSUMED_DEVIATION = 0.05
"""The assumed standard deviation of a process's speed between restarts, where too few were measured to tell. Ten starts of one
program lay within 5 to 12 % on a shared machine, which is 3.1 standard deviations of ten normal values: at most 4 % each."""

ASSUMED = Prior(ASSUMED_DEVIATION**2, 3)
"""The prior in place of an estimate, for one arm. Three degrees of freedom leave room for larger spreads: with two restarts
that differ by 10 %, 7 % of all tables held a false verdict, and with six degrees of freedom 27 %, for intervals that were a
tenth narrower."""

FEWEST_RESTARTS = 3
"""From this many restarts on, their own variance is enough. Student's interval over two, with one degree of freedom, is 9
standard deviations wide to either side, and two processes that happen to be slow alike make it as narrow as one likes."""


@dataclass(frozen=True)
class Bounds:
    """Arrays, one element per experiment: logarithms, and the p value of a true value of 0."""

    estimate: Floats
    low: Floats
    high: Floats
    p_value: Floats


def around(
    medians: Floats,
    within_low: Floats,
    within_high: Floats,
    within_variance: Floats,
    *,
    arms: int,
    confidence: float,
    prior: Prior | None = None,
) -> Bounds:
    """The bounds of what `medians` (..., restarts), the restarts' median logarithms, have in common.

    The estimate is the middle restart, which one disturbed restart cannot move far. The interval is Student's, about the
    mean. Below FEWEST_RESTARTS the variance is (d0 v0 + d s^2) / (d0 + d) with d0 + d degrees of freedom, where d, s^2 are
    the restarts' own and d0, v0 those of ASSUMED, times `arms`, the number of processes that a value is made of (2 for a
    ratio), and with the variance of a restart's median that its own blocks show. That is the posterior of a normal variance
    with a scaled inverse chi-square prior (A. Gelman et al., Bayesian Data Analysis, 3rd ed., 2013, section 2.6). `prior`,
    learnt elsewhere (`moderated.learn`), takes the place of ASSUMED, and counts for any number of restarts but one: alone, it
    covered 90 % where the cells' spreads differ much.

    The bounds also hold the estimate with `within_low` and `within_high` added, the interval of the blocks alone: restarts
    that agree by accident do not make a result better known than their blocks do.

    The p value ignores `prior`: in a table whose cells differ much in spread it was wrong for the noisiest, which are those
    that a table's verdicts depend on.
    """
    from scipy.special import stdtr, stdtrit

    restarts = medians.shape[-1]
    center, estimate = medians.mean(axis=-1), middle(medians)
    own = medians.var(axis=-1, ddof=1) if restarts > 1 else np.zeros(medians.shape[:-1])
    few = restarts < FEWEST_RESTARTS

    def error(known: Prior | None, added: Floats | float) -> tuple[Floats, float]:
        """The standard error of the centre and its degrees of freedom."""
        if known is None:
            return np.sqrt(own / restarts), restarts - 1
        df = known.df + restarts - 1
        return np.sqrt((known.df * (known.variance + added) + (restarts - 1) * own) / df / restarts), df

    assumed = Prior(ASSUMED.variance * arms, ASSUMED.df) if few else None
    tested, test_df = error(assumed, within_variance)
    error_of_interval, df = (tested, test_df) if prior is None or restarts == 1 else error(prior, 0.0)
    half = stdtrit(df, (1 + confidence) / 2) * error_of_interval
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(center == 0, 0.0, np.abs(center) / tested)
    return Bounds(
        estimate,
        np.minimum(center - half, estimate + within_low),
        np.maximum(center + half, estimate + within_high),
        np.minimum(1.0, 2 * stdtr(test_df, -t)),
    )


def within(residuals: Floats, restarts: int, confidence: float) -> tuple[Floats, Floats, Floats]:
    """What the blocks alone say, from their distances (..., blocks) to the median of their own restart.

    The order statistics' interval of the median of all blocks, and the variance of the median of one restart that
    follows from its width. All 0 where each restart has one block.
    """
    blocks = residuals.shape[-1]
    ordered = np.sort(residuals, axis=-1)
    rank, achieved = median_rank(blocks, confidence)
    low, high = np.minimum(ordered[..., rank - 1], 0.0), np.maximum(ordered[..., blocks - rank], 0.0)
    deviation = (high - low) / 2 / NormalDist().inv_cdf((1 + achieved) / 2) if achieved > 0 else 0.0 * low
    return low, high, deviation**2 * restarts


def over_restarts(
    groups: Sequence[Sequence[float]], *, arms: int, confidence: float, prior: Prior | None = None
) -> Bounds:
    """`around` for the blocks (logarithms) of one time or ratio, by restart; the answer's arrays have no axes.

    Raises ValueError where a restart has no block.
    """
    if not groups or not all(groups):
        raise ValueError("each restart needs at least one block")
    values = np.concatenate([np.asarray(group, dtype=np.float64) for group in groups])
    return over_blocks(values, [len(group) for group in groups], arms=arms, confidence=confidence, prior=prior)


def over_blocks(
    values: Floats, sizes: Sequence[int], *, arms: int, confidence: float, prior: Prior | None = None
) -> Bounds:
    """The same for many times or ratios at once: `values` (..., blocks) are logarithms, restart after restart; `sizes` has the
    number of blocks of each."""
    medians = restart_medians(values, sizes)
    low, high, variance = within(values - np.repeat(medians, sizes, axis=-1), len(sizes), confidence)
    return around(medians, low, high, variance, arms=arms, confidence=confidence, prior=prior)


def restart_medians(values: Floats, sizes: Sequence[int]) -> Floats:
    """The median of each restart (..., restarts) of values (..., blocks)."""
    if len(set(sizes)) == 1:
        return middle(values.reshape(*values.shape[:-1], len(sizes), sizes[0]))
    ends = np.cumsum(sizes)
    parts = [values[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return np.stack([middle(part) for part in parts], axis=-1)


def middle(values: Floats) -> Floats:
    """The median along the last axis, of finite values, in half the time that `numpy.median` takes for many short rows."""
    ordered, count = np.sort(values, axis=-1), values.shape[-1]
    found: Floats = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return found


def variance_between(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """The variance of the restarts' median logarithms with its degrees of freedom, as `moderated.learn` takes it; None for
    a single restart."""
    if len(groups) < 2:
        return None
    return float(np.var([np.median(group) for group in groups], ddof=1)), len(groups) - 1


def on_ticks(low: Numbers, high: Numbers, tick_ns: Numbers, *arms_ns: Numbers) -> tuple[Any, Any]:
    """Bounds (logarithms) moved out by what a clock of this tick can hide: half a tick of each arm's time, either way; numbers,
    or arrays of as many.

    The first of `arms_ns` is the one that the value is about, the second, if any, the one that it is divided by.
    """
    half = tick_ns / 2
    for number, ns in enumerate(arms_ns):
        short, long = np.log(np.maximum(ns - half, 1e-3 * ns) / ns), np.log((ns + half) / ns)
        low, high = (low + short, high + long) if number == 0 else (low - long, high - short)
    return low, high


def time_interval(
    restarts_ns: Sequence[Sequence[float]],
    confidence: float,
    *,
    tick_ns: float | None = None,
    prior: Prior | None = None,
) -> Interval:
    """The time of a call from its blocks' times, [restart][round]: that of the middle restart, with its bounds.

    From two restarts on the confidence is the one asked for; a `prior`, learnt from earlier sweeps of this machine, makes the
    bounds as narrow as that allows. Of one restart the bounds are those of its blocks, at the confidence that these are worth,
    and `within_run`: no confidence is stated for another run. `tick_ns` is the clock's tick where calls were timed one by
    one: no bound is nearer than half of it.

    Raises ValueError where a restart has no block, or a time is not above 0 and finite.
    """
    groups = [_logs(blocks) for blocks in restarts_ns]
    if len(groups) == 1:
        found = replace(median_interval(restarts_ns[0], confidence), within_run=True)
    else:
        bounds = over_restarts(groups, arms=1, confidence=confidence, prior=prior)
        low, high = math.exp(float(bounds.low)), math.exp(float(bounds.high))
        middle = median(median(blocks) for blocks in restarts_ns)  # of times: whole where they are
        found = Interval(middle, min(low, middle), max(high, middle), confidence)
    if tick_ns is None:
        return found
    low, high = on_ticks(math.log(found.low), math.log(found.high), tick_ns, found.estimate)
    return replace(found, low=math.exp(low), high=math.exp(high))


def _logs(times: Sequence[float]) -> list[float]:
    if not all(0 < ns < math.inf for ns in times):
        raise ValueError("times must be finite and above 0")
    return [math.log(ns) for ns in times]
