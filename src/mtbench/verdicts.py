"""Who is faster: two arms measured in the same rounds, judged by one rule wherever a verdict is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mtbench import stats
from mtbench.stats import Comparison

ALPHA = 0.05
"""A table's chance of any false verdict."""

THRESHOLD, HIGHEST_THRESHOLD = 0.01, 0.03
"""The least difference that matters. It rises with the noise: of equal arms with 3 % between blocks, 40 rounds called
5.3 % different at a fixed 1 %, and 0.6 % so. But not beyond 3 %, or a cell measured badly would count as equivalent."""

Blocks = Mapping[tuple[int, int], float]
"""A job's block statistics by epoch and round."""


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
    return stats.compare_paired(*times, threshold=least, confidence=1 - ALPHA)


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
