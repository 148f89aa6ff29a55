"""How a time changed over the versions of a library and over dates, on one machine: levels, and the steps between them.

Sessions are never interleaved, so all of this is descriptive. What changed with a version is told. What changed unseen, such as
the room's warmth, is not known.

Source of the method: the L1 Potts functional, the sum of the points' distances to the medians of their levels and a penalty for
each step, whose least value is found exactly by dynamic programming (F. Friedrich, A. Kempe, V. Liebscher and G. Winkler,
J. Comput. Graph. Stat. 17, 2008; airspeed velocity, `asv/step_detect.py`, detects steps so, too). Here distances count in
units of each point's own error, and a penalty of ln n is that of the Bayesian information criterion for a level and a place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from packaging.version import InvalidVersion, Version

from mtbench.results import stats
from mtbench.results.comparison import THRESHOLD, UNKNOWN_SPREAD, Timing, between_sessions
from mtbench.results.stats import Interval

FACTS = {
    "library_version": "version",
    "mtbench_version": "mtbench",
    "python_version": "Python",
    "blas": "BLAS",
    "os_version": "system",
    "driver": "driver",
    "threads": "threads",
}
"""What may have changed between two sessions, and what it is called."""

Z = 1.96
"""Standard errors from the middle of a 95 % interval to its ends."""


@dataclass(frozen=True)
class Moment:
    """One record of a series: its time, when it was measured, and the FACTS that hold for it."""

    timing: Timing
    at: datetime | None
    version: str | None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def interval(self) -> Interval:
        """The time with the bounds of `between_sessions`, or with UNKNOWN_SPREAD where it has none."""
        known = between_sessions(self.timing)
        ns = self.timing.ns
        return known or Interval(ns, ns / (1 + UNKNOWN_SPREAD), ns * (1 + UNKNOWN_SPREAD), 0.0)


@dataclass(frozen=True)
class Step:
    """A change of level before the moment `index`. `ratio` is the new level's time over the old one's, below 1 where it became
    faster, with descriptive bounds; `changed` says what differs between the moments on both sides."""

    index: int
    ratio: Interval
    changed: tuple[str, ...]


def ordered(moments: Sequence[Moment]) -> list[Moment]:
    """By version, and by date within one; what has no version or none that can be compared comes first."""
    return sorted(moments, key=lambda one: (_version(one.version), one.version or "", one.at is not None, one.at))


def steps(moments: Sequence[Moment]) -> list[Step]:
    """The steps of a series that is `ordered`: where the level changed by more than 1 %, and the bounds of the two levels
    exclude that it did not. A level's bounds are those of its middle moment."""
    if len(moments) < 2:
        return []
    intervals = [one.interval for one in moments]
    logs = [math.log(one.estimate) for one in intervals]
    errors = [max(math.log(one.high / one.low) / 2 / Z, 1e-6) for one in intervals]
    ends = [*levels(logs, errors), len(moments)]
    found = []
    for start, index, end in zip(ends, ends[1:], ends[2:], strict=False):
        old, new = _middle(intervals[start:index]), _middle(intervals[index:end])
        ratio = stats.descriptive_ratio(old, new)
        sure = ratio.high < 1 or ratio.low > 1
        if sure and abs(math.log(ratio.estimate)) > math.log1p(THRESHOLD):
            found.append(Step(index, ratio, _changed(moments[index - 1], moments[index])))
    return found


def levels(values: Sequence[float], errors: Sequence[float]) -> list[int]:
    """Where the levels of a series begin, the first at 0: the best fit by constants, as this module's text has it.

    `errors` are the points' standard errors, above 0. Raises ValueError for no values, or unequal lengths.
    """
    if not values or len(values) != len(errors):
        raise ValueError(f"{len(values)} values and {len(errors)} errors")
    penalty = math.log(len(values)) if len(values) > 1 else 0.0
    best, previous = [-penalty], [0]
    for end in range(1, len(values) + 1):
        costs = [best[start] + penalty + _distance(values[start:end], errors[start:end]) for start in range(end)]
        least = min(range(end), key=costs.__getitem__)
        best.append(costs[least])
        previous.append(least)
    found, end = [], len(values)
    while end > 0:
        end = previous[end]
        found.append(end)
    return found[::-1]


def _distance(values: Sequence[float], errors: Sequence[float]) -> float:
    """The sum of distances to the weighted median, in standard errors."""
    pairs = sorted(zip(values, errors, strict=True))
    half, weight = sum(1 / error for _, error in pairs) / 2, 0.0
    middle = pairs[-1][0]
    for value, error in pairs:
        weight += 1 / error
        if weight >= half:
            middle = value
            break
    return math.fsum(abs(value - middle) / error for value, error in pairs)


def _middle(intervals: Sequence[Interval]) -> Interval:
    return sorted(intervals, key=lambda one: one.estimate)[(len(intervals) - 1) // 2]


def _changed(before: Moment, after: Moment) -> tuple[str, ...]:
    names = [name for name in FACTS if before.facts.get(name) != after.facts.get(name)]
    return tuple(f"{FACTS[name]} {before.facts.get(name, '?')} → {after.facts.get(name, '?')}" for name in names)


def _version(text: str | None) -> Any:
    try:
        return (1, Version(text or ""))
    except InvalidVersion:
        return (0, Version("0"))
