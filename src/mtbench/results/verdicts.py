"""The one type of a comparison of B with A, and the one vocabulary of its verdicts."""

import math
from typing import NamedTuple

VERDICTS = ("faster", "slower", "equivalent", "inconclusive", "descriptive")
"""What is said of B. `descriptive`: the two were not interleaved, so that the ratio describes and proves nothing."""

_SWAPPED = {"faster": "slower", "slower": "faster"}


class Comparison(NamedTuple):  # made in a fifth of the time of a frozen dataclass: a report has a hundred thousand
    """B against A. `ratio` is B's time over A's, so that below 1 B is the faster one.

    `low` and `high` bound it at the `confidence` achieved: 0 and infinity, at a confidence of 0, where nothing does.
    `p_value` is that of no difference, adjusted for the comparisons of one family where `comparison.judged` made it;
    `smallest_detectable` is the relative difference that such a measurement finds four times in five; `threshold` the
    least difference that matters. `restarts` is how many the pairs come from; `spread_assumed` says that these are too few
    to tell how much they differ, so that something had to be assumed; `spread_of_earlier` that the bounds also use how much
    they differed in earlier sweeps of the machine. Of two that were not `interleaved` the verdict is
    `descriptive`, `reason` says why they were not, no pairs were formed, and nothing was tested: the p value is 1, the
    smallest detectable difference infinite.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    p_value: float
    pairs: int
    verdict: str
    smallest_detectable: float
    threshold: float | None = None
    interleaved: bool = True
    reason: str | None = None
    restarts: int = 1
    spread_assumed: bool = False
    spread_of_earlier: bool = False

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The bounds, or None where nothing bounds the ratio."""
        return (self.low, self.high) if self.confidence > 0 and math.isfinite(self.high) else None

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1. Where the verdict is still inconclusive, the difference may be too small to
        matter, or may not survive the number of comparisons."""
        return self.low > 1 or self.high < 1

    def swapped(self) -> "Comparison":
        """A against B: log ratios change their sign, so nothing is computed again."""
        return self._replace(
            ratio=1 / self.ratio,
            low=1 / self.high,
            high=1 / self.low if self.low else math.inf,
            verdict=_SWAPPED.get(self.verdict, self.verdict),
        )
