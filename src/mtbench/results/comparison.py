"""Who is faster: B against A, by one function wherever a ratio or a verdict is shown.

`between` takes two records, `against` what is left of them once their samples are reduced, `newest` all pairs of a page.
Two that were interleaved are compared in pairs of blocks of the same round, by `compare`; else the ratio of medians is
descriptive, with the bounds of `between_sessions`. The verdicts of a family of comparisons are corrected together, by `judged`.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from mtbench.results import samples, stats
from mtbench.results.inference import FEWEST_RESTARTS, middle, on_ticks, over_blocks, restart_medians
from mtbench.results.prior import RATIO, Prior, of_row
from mtbench.results.record import Record
from mtbench.results.samples import Blocks, Rounds
from mtbench.results.stats import Interval
from mtbench.results.verdicts import Comparison

if TYPE_CHECKING:
    import polars as pl

ALPHA = 0.05
"""A table's chance of any false verdict."""

THRESHOLD, HIGHEST_THRESHOLD = 0.01, 0.03
"""The least difference that matters. It rises with the width of the final interval, to what could just be detected, but not
beyond 3 %, or a cell measured badly would count as equivalent."""

UNKNOWN_SPREAD = 0.12
"""Between sessions, where only one restart was measured: ten starts of one program differed by 5 to 12 % on a shared
machine."""


def threshold(smallest_detectable: float) -> float:
    """The difference that matters where this is the smallest one that the measurement can detect."""
    return min(max(smallest_detectable, THRESHOLD), HIGHEST_THRESHOLD)


def compare(
    a: Blocks, b: Blocks, least: float | None = None, *, tick_ns: float | None = None, prior: Prior | None = None
) -> Comparison | None:
    """B's times against A's over the rounds that both have; None where there is no such round.

    Each restart is represented by the median of its rounds' ratios, and counts alike however many rounds it has. The ratio is
    that of the middle restart. Its bounds are those of `inference.around`. They include how much restarts differ: estimated
    from three restarts on, assumed for fewer (`spread_assumed`). From one restart with fewer than six rounds nothing is
    concluded.

    `least` is the difference that matters, by default that of `threshold`. `tick_ns` is the tick of the clock where blocks
    are medians of single calls: no bound is nearer than half a tick of each arm. `prior` is what earlier sweeps of this machine
    say of the variance between restarts of a ratio's logarithm (`moderated.learn`): it shortens the interval, and never
    makes a difference significant.

    The verdict is of this comparison alone: those of one table are corrected together by `corrected`.
    """
    return compare_all([(a, b, tick_ns)], least, [prior])[0]


def compare_all(
    pairs: Sequence[tuple[Blocks, Blocks, float | None]],
    least: float | None = None,
    priors: Sequence[Prior | None] | None = None,
) -> list[Comparison | None]:
    """`compare` of many pairs at once, each with the tick of its clock, and its prior if there are any. Pairs with the same
    rounds and prior are computed as arrays."""
    alike: dict[tuple[Rounds, Prior | None], list[int]] = {}
    for index, (a, b, _) in enumerate(pairs):
        rounds = samples.in_common(a, b)
        if rounds:
            alike.setdefault((rounds, priors[index] if priors else None), []).append(index)
    found: list[Comparison | None] = [None] * len(pairs)
    for (rounds, prior), members in alike.items():
        ordered, sizes = _by_restart(rounds)
        ours, theirs = (
            samples.gathered(side, ordered)
            for side in ([pairs[index][0] for index in members], [pairs[index][1] for index in members])
        )
        bounds = over_blocks(np.log(theirs / ours), sizes, arms=2, confidence=1 - ALPHA, prior=prior)
        middles = [middle(restart_medians(one, sizes)) for one in (theirs, ours)]
        ticks = np.array([pairs[index][2] for index in members], dtype=float)  # None is nan, and hides nothing
        low, high = on_ticks(bounds.low, bounds.high, np.nan_to_num(ticks), *middles)
        hidden = ~np.isnan(ticks) & (low <= 0) & (high >= 0)
        numbers = (bounds.estimate, low, high, np.where(hidden, 1.0, bounds.p_value))
        informed = prior is not None and len(sizes) > 1
        assumed = len(sizes) < FEWEST_RESTARTS and not informed
        for index, values in zip(members, zip(*(one.tolist() for one in numbers), strict=True), strict=True):
            found[index] = _judged_alone(values, sizes, least, assumed, informed)
    return found


@lru_cache(maxsize=4096)
def _by_restart(rounds: Rounds) -> tuple[Rounds, tuple[int, ...]]:
    """Rounds in order, and how many each restart has."""
    ordered = samples.shared(tuple(sorted(rounds)))
    return ordered, tuple(len(list(restart)) for _, restart in groupby(ordered, key=lambda round_: round_[0]))


def _judged_alone(
    numbers: tuple[float, ...], sizes: Sequence[int], least: float | None, assumed: bool, informed: bool
) -> Comparison:
    """The comparison of one pair from the logarithms of its ratio and bounds, and its p value."""
    estimate, low, high, p_value = numbers
    pairs = sum(sizes)
    _, within_run = stats.median_rank(pairs, 1 - ALPHA)
    enough = len(sizes) > 1 or within_run >= 1 - ALPHA
    p_value = p_value if enough else 1.0
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
        pairs=pairs,
        verdict=word if _stands(word, p_value) else "inconclusive",
        smallest_detectable=detectable,
        threshold=matters,
        restarts=len(sizes),
        spread_assumed=assumed,
        spread_of_earlier=informed,
    )


def detectable_effect(half_width: float) -> float:
    """The relative difference that is found four times in five, for an interval of this half width (in logarithms).

    The interval reaches z_{1-alpha/2} standard errors, and a difference of z_{1-alpha/2} + z_{0.8} of them is found that often.
    """
    return math.expm1(half_width * _REACH)


_REACH = 1 + NormalDist().inv_cdf(0.8) / NormalDist().inv_cdf(1 - ALPHA / 2)


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table with p values adjusted for their number (Holm).

    The table is what a reader reads at once: all comparisons of one arm with the baseline in one section of a page. A
    faster or slower whose adjusted p value exceeds ALPHA is inconclusive, so the chance of any false one in the table is
    ALPHA at most.
    """
    adjusted = stats.holm([comparison.p_value for comparison in found])
    return [
        one._replace(p_value=p_value, verdict=one.verdict if _stands(one.verdict, p_value) else "inconclusive")
        for one, p_value in zip(found, adjusted, strict=True)
    ]


def _stands(verdict: str, p_value: float) -> bool:
    return verdict not in ("faster", "slower") or p_value <= ALPHA


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
    tick_ns: float | None = None
    prior: Prior | None = None  # of a ratio

    @property
    def restarts(self) -> int:
        """How many restarts have blocks."""
        return len({restart for restart, _ in self.blocks})

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
        tick = samples.tick_of(row) if metric == "latency" else None
        return cls(*identity, row["paired"], ns, interval, blocks, tick, of_row(row, RATIO))


def timings(records: "pl.DataFrame", metric: str, blocks: "pl.DataFrame") -> dict[int, Timing]:
    """The timing of each record in a frame that has one, by its `row`; `blocks` is what `samples.table` made of them."""
    by_row = samples.by_row(blocks)
    speeds = [name for name in records.columns if name.startswith(f"{metric}_")]
    used = records.drop_nulls(f"{metric}_ns").filter(status="ok").select(*_OF_A_TIMING, *speeds)
    rows = used.iter_rows(named=True)
    found = ((row["row"], Timing.of(row, metric, by_row.get(row["row"], {}))) for row in rows)
    return {number: timing for number, timing in found if timing is not None}


_OF_A_TIMING = (
    "row", "status", "sweep_id", "cell_id", "machine_id", "paired", "confidence", "clock_tick_ns", "calls_per_sample",
    *RATIO,
)  # fmt: skip
"""The columns of a record, beside its times, that a timing takes."""


def between(a: Record, b: Record, metric: str = "latency", least: float | None = None) -> Comparison | None:
    """B's time against A's in a metric; None where one of them has no time."""
    timings = [Timing.of(vars(record), metric, samples.blocks(record, metric)) for record in (a, b)]
    return None if timings[0] is None or timings[1] is None else against(timings[0], timings[1], least)


def against(a: Timing, b: Timing, least: float | None = None) -> Comparison:
    """B's time against A's, in pairs where they were interleaved, descriptive where not.

    `least` is the difference that matters, by default that of `threshold`. The verdict is of this comparison alone.
    """
    return against_all([(a, b)], least)[0]


def against_all(pairs: Sequence[tuple[Timing, Timing]], least: float | None = None) -> list[Comparison]:
    """`against` of many pairs at once."""
    reasons = [apart(a, b) for a, b in pairs]
    together = [pair for pair, reason in zip(pairs, reasons, strict=True) if reason is None]
    priors = [a.prior if a.prior == b.prior else None for a, b in together]
    ticked = [(a.blocks, b.blocks, _tick(a, b)) for a, b in together]
    compared = iter(compare_all(ticked, least, priors if any(priors) else None))
    found = [next(compared) if reason is None else None for reason in reasons]
    return [one or _descriptive(*pair, reason) for one, pair, reason in zip(found, pairs, reasons, strict=True)]


def _tick(a: Timing, b: Timing) -> float | None:
    if a.tick_ns is None or b.tick_ns is None:
        return b.tick_ns if a.tick_ns is None else a.tick_ns
    return max(a.tick_ns, b.tick_ns)


def _descriptive(a: Timing, b: Timing, reason: str | None) -> Comparison:
    """The ratio of two that were not interleaved: it describes, and nothing is tested."""
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
    if len(a) == len(b) == 1:  # as most were measured once
        return a[0], b[0]
    for one in reversed(a):
        for other in reversed(b):
            if apart(one, other) is None and samples.in_common(one.blocks, other.blocks):
                return one, other
    return a[-1], b[-1]


def newest(pairs: Iterable[tuple[Hashable, Sequence[Timing], Sequence[Timing]]]) -> list[Comparison]:
    """B's time over A's of each (family, A, B), by their `newest_pair`; verdicts as `judged` corrects them."""
    pairs = list(pairs)
    found = against_all([newest_pair(a, b) for _, a, b in pairs])
    return judged(zip((family for family, _, _ in pairs), found, strict=True))


def between_sessions(timing: Timing) -> Interval | None:
    """Bounds that also hold for the median of another session of the same; None where nothing bounds it.

    From two restarts on, a record's interval includes how much restarts differ, and another session consists of other restarts.
    With a single restart, each bound is moved out by UNKNOWN_SPREAD. What no restart shows, such as a warmer room, is not
    included.
    """
    if timing.interval is None or timing.restarts > 1:
        return timing.interval
    low, high = timing.interval.low / (1 + UNKNOWN_SPREAD), timing.interval.high * (1 + UNKNOWN_SPREAD)
    return replace(timing.interval, low=low, high=high)


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
    """The geometric mean of ratios over cells; None where there are none."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None
