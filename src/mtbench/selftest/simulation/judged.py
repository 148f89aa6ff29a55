"""Whole tables of simulated comparisons at once, by the code that judges measurements."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mtbench.results.comparison import ALPHA, HIGHEST_THRESHOLD, THRESHOLD
from mtbench.results.inference import Bounds, Floats, around, within
from mtbench.results.prior import Prior

Flags = NDArray[np.bool_]


TOLERANCE = 4
"""Monte Carlo errors by which a promise may be missed. Some 200 cells are held to theirs, many of which hold it exactly: three
errors would be exceeded by one of them in every fourth run, four in one of 150."""


@dataclass(frozen=True)
class Estimate:
    """A proportion, or another mean of independent trials, with its Monte Carlo error (one standard error)."""

    value: float
    error: float

    @classmethod
    def of(cls, trials: Flags | Floats) -> "Estimate":
        """Trials along the first axis are independent; those of one table are not."""
        each = trials.reshape(len(trials), -1).mean(axis=1, dtype=float)
        spread = float(each.std(ddof=1)) / len(each) ** 0.5
        return cls(float(each.mean()), spread or 1 / len(each))  # none among n, or all, is not sure to one in n

    def at_most(self, promise: float) -> bool:
        """Whether a truth of at most this is within TOLERANCE errors."""
        return self.value <= promise + TOLERANCE * self.error

    def at_least(self, promise: float) -> bool:
        return self.value >= promise - TOLERANCE * self.error


def bounds(logs: Floats, arms: int, prior: Prior | None = None) -> Bounds:
    """The bounds of logarithms (..., restarts, rounds): of times where `arms` is 1, of ratios where it is 2."""
    medians = np.median(logs, axis=-1)
    residuals = (logs - medians[..., None]).reshape(*medians.shape[:-1], -1)
    alone = within(residuals, medians.shape[-1], 1 - ALPHA)
    return around(medians, *alone, arms=arms, confidence=1 - ALPHA, prior=prior)


def ratios(arms: Floats) -> Floats:
    """Log ratios (tables, pairs, restarts, rounds) of the second arm to the first."""
    return arms[:, :, 1] - arms[:, :, 0]


def covers(found: Bounds, truth: float) -> Flags:
    return (found.low <= truth) & (truth <= found.high)


def differs(found: Bounds) -> Flags:
    return (found.low > 0) | (found.high < 0)


def threshold(found: Bounds) -> Floats:
    """`comparison.threshold` of the smallest detectable effect, as a ratio."""
    quantile = NormalDist().inv_cdf
    factor = 1 + quantile(0.8) / quantile(1 - ALPHA / 2)
    return np.clip(np.expm1(factor * (found.high - found.low) / 2), THRESHOLD, HIGHEST_THRESHOLD)


def slower(found: Bounds, comparisons: int = 1) -> Flags:
    """Whether the verdict is slower, in a table of so many comparisons of which the others are of equal arms."""
    beyond = found.estimate > np.log1p(threshold(found))
    return (found.low > 0) & beyond & (found.p_value * comparisons <= ALPHA)


def any_false(found: Bounds) -> Flags:
    """Whether a table (tables, pairs) of equal arms holds a significant difference after Holm's correction, however small."""
    order = np.argsort(found.p_value, axis=1)
    pairs = found.p_value.shape[1]
    adjusted = np.maximum.accumulate(np.take_along_axis(found.p_value, order, 1) * (pairs - np.arange(pairs)), axis=1)
    significant = (adjusted <= ALPHA) & np.take_along_axis(differs(found), order, 1)
    return np.asarray(significant.any(axis=1))


def half_width(found: Bounds) -> float:
    """The median half width, per cent."""
    return float(100 * np.median((found.high - found.low) / 2))
