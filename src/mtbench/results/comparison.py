"""Who is faster: B against A, by one function wherever a ratio or a verdict is shown.

`between` takes two records, `against` what is left of them once their samples are reduced. Two that were interleaved are
compared in pairs of blocks of the same round, by `compare`; else the ratio of medians is descriptive, with the bounds of
`between_sessions`. The verdicts of a family of comparisons are corrected together, by `judged`.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import median
from typing import Any

from mtbench.results import samples, stats
from mtbench.results.record import Record
from mtbench.results.samples import Blocks
from mtbench.results.stats import Interval
from mtbench.results.verdicts import Comparison

ALPHA = 0.05
"""A table's chance of any false verdict."""

THRESHOLD, HIGHEST_THRESHOLD = 0.01, 0.03
"""The least difference that matters. It rises with the noise: of equal arms with 3 % between blocks, 40 rounds called
5.3 % different at a fixed 1 %, and 0.6 % so. But not beyond 3 %, or a cell measured badly would count as equivalent."""

UNKNOWN_SPREAD = 0.12
"""Between lives of a process, where only one was measured: ten starts of one program differed by 5 to 12 % on a shared
machine."""

TWO_RESTARTS = 1.714
"""How far two restarts' spread has to be stretched: two samples of two differ by more than 1.714 times the sum of their
ranges in 5 % of all cases (E. Lord, Biometrika 34, 1947). From three restarts on the bare spread is more than enough."""


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


@dataclass(frozen=True)
class Timing:
    """What a comparison has to know of one record in one metric. `interval` is None where nothing bounds the median."""

    sweep_id: str
    cell_id: str
    machine_id: str
    paired: bool | None
    ns: float
    interval: Interval | None
    blocks: Blocks

    @classmethod
    def of(cls, row: Mapping[str, Any], metric: str, blocks: Blocks) -> "Timing | None":
        """Of a record's columns and its block statistics; None where there is no time, or the answer was not found right."""
        ns = row[f"{metric}_ns"]
        if row["status"] != "ok" or ns is None:
            return None
        low, high, interval = row.get(f"{metric}_low_ns"), row.get(f"{metric}_high_ns"), None
        if low is not None and high is not None and row["confidence"]:  # at a confidence of 0 they bound nothing
            interval = Interval(ns, low, high, row["confidence"])
        identity = (row["sweep_id"] or "", row["cell_id"] or "", row["machine_id"] or "")
        return cls(*identity, row["paired"], ns, interval, blocks)


def between(a: Record, b: Record, metric: str = "latency", least: float | None = None) -> Comparison | None:
    """B's time against A's in a metric; None where one of them has no time."""
    timings = [Timing.of(vars(record), metric, samples.blocks(record, metric)) for record in (a, b)]
    return None if timings[0] is None or timings[1] is None else against(timings[0], timings[1], least)


def against(a: Timing, b: Timing, least: float | None = None) -> Comparison:
    """B's time against A's, in pairs where they were interleaved, descriptive where not.

    `least` is the difference that matters, by default that of `threshold`. The verdict is of this comparison alone.
    """
    reason = apart(a, b)
    found = compare(a.blocks, b.blocks, least) if reason is None else None
    if found is not None:
        return found
    nothing_tested = (1.0, 0, "descriptive", math.inf, None, False, reason or "no round in common")
    bounds = between_sessions(a), between_sessions(b)
    if bounds[0] is None or bounds[1] is None:
        return Comparison(b.ns / a.ns, 0.0, math.inf, 0.0, *nothing_tested)
    ratio = stats.descriptive_ratio(bounds[0], bounds[1])
    return Comparison(ratio.estimate, ratio.low, ratio.high, ratio.confidence, *nothing_tested)


def apart(a: Timing, b: Timing) -> str | None:
    """Why these two were not interleaved; None where they may have been."""
    if a.machine_id != b.machine_id:
        return "on two machines"
    if not a.sweep_id or a.sweep_id != b.sweep_id:
        return "in two sweeps"
    if a.cell_id != b.cell_id:
        return "in two cells"
    return "one after the other, for want of memory" if False in (a.paired, b.paired) else None


def newest_pair(a: Sequence[Timing], b: Sequence[Timing]) -> tuple[Timing, Timing]:
    """Of several measurements of two contenders in one cell, oldest first: the newest two that were interleaved, else the
    newest of each."""
    for one in reversed(a):
        for other in reversed(b):
            if apart(one, other) is None and one.blocks.keys() & other.blocks.keys():
                return one, other
    return a[-1], b[-1]


def between_sessions(timing: Timing) -> Interval | None:
    """A median's bounds as far as another session of the same thing may be from it; None where nothing bounds it.

    A record's interval is about this session. The best that it knows of others is how much the restarts of the process
    differed within it, (largest - smallest) / median of their medians, so each bound is moved out by that factor, with
    TWO_RESTARTS or UNKNOWN_SPREAD where the restarts are few. What no restart can know, such as a warmer room, is not in it.
    """
    if timing.interval is None:
        return None
    restarts, apart = samples.restart_medians(timing.blocks), UNKNOWN_SPREAD
    if len(restarts) > 1:
        apart = samples.spread(restarts) * (TWO_RESTARTS if len(restarts) == 2 else 1)
    return replace(timing.interval, low=timing.interval.low / (1 + apart), high=timing.interval.high * (1 + apart))


def judged(found: Iterable[tuple[Hashable, Comparison]]) -> list[Comparison]:
    """Comparisons, each with the family that it belongs to, with the verdicts of each family corrected together.

    A family is what one chart or table shows of one pair of arms: `cells.family`. Descriptive ones stay as they are.
    """
    pairs = list(found)
    families: dict[Hashable, list[int]] = {}
    for index, (family, one) in enumerate(pairs):
        if one.interleaved:
            families.setdefault(family, []).append(index)
    judged = [one for _, one in pairs]
    for members in families.values():
        for index, one in zip(members, corrected([judged[index] for index in members]), strict=True):
            judged[index] = one
    return judged


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """Of ratios over cells; None where there is none."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None
