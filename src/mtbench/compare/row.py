"""One line of a comparison: two medians, their ratio, and what it is worth."""

from dataclasses import dataclass, replace

from mtbench.compare.sides import Measured
from mtbench.results import comparison as verdicts
from mtbench.results import stats
from mtbench.results.comparison import UNKNOWN_SPREAD
from mtbench.results.record import Record
from mtbench.results.stats import Comparison, Interval


@dataclass(frozen=True)
class Row:
    """One arm, or one pair of arms, in one cell. A side that was not measured there is None.

    `ratio` is B's time over A's with its bounds; `verdict` and the rest of `comparison` only where `kind` is paired,
    the p value adjusted for the number of comparisons in the table. `failure` says why a gate rejects this row.
    """

    a: Measured | None
    b: Measured | None
    kind: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    comparison: Comparison | None = None
    threshold: float | None = None
    failure: str | None = None

    @property
    def record(self) -> Record:
        """Of either side: what both have in common can be read from it."""
        side = self.a or self.b
        assert side is not None
        return side.record

    @property
    def arms(self) -> str:
        names = dict.fromkeys(side.record.arm for side in (self.a, self.b) if side is not None)
        return " -> ".join(names)

    @property
    def verdict(self) -> str | None:
        return None if self.comparison is None else self.comparison.verdict

    @property
    def outcome(self) -> str:
        """The verdict, or what stands in its place."""
        if self.a is None or self.b is None:
            return "only in A" if self.b is None else "only in B"
        return self.verdict or self.kind or "not compared"


def compared(a: Measured | None, b: Measured | None, threshold: float | None) -> Row:
    """The two as one row: in pairs where their rounds were interleaved, descriptive where not, without a ratio where one
    of them has no time."""
    if a is None or b is None or a.ns is None or b.ns is None:
        return Row(a, b)
    found = verdicts.compare(a.blocks, b.blocks, threshold) if interleaved(a, b) else None
    if found is not None:
        return Row(a, b, "paired", found.ratio, found.low, found.high, found.confidence, found, found.threshold)
    bounds = between_sessions(a), between_sessions(b)
    if bounds[0] is None or bounds[1] is None:
        return Row(a, b, "descriptive", b.ns / a.ns)
    ratio = stats.descriptive_ratio(bounds[0], bounds[1])
    return Row(a, b, "descriptive", ratio.estimate, ratio.low, ratio.high, ratio.confidence)


def interleaved(a: Measured, b: Measured) -> bool:
    """Whether rounds of both were measured in turns."""
    one, other = a.record, b.record
    return (
        (one.sweep_id, one.cell_id, one.machine_id) == (other.sweep_id, other.cell_id, other.machine_id)
        and False not in (one.paired, other.paired)
        and None not in (a.ns, b.ns)
        and bool(a.blocks.keys() & b.blocks.keys())
    )


def between_sessions(measured: Measured) -> Interval | None:
    """A median's bounds as far as another session of the same thing may be from it; None where nothing bounds it.

    From two restarts on a record's interval holds what differs between restarts, and another session has other ones. Of a
    single restart each bound is moved out by UNKNOWN_SPREAD. What no restart can know, such as a warmer room, is not in it.
    """
    within = measured.interval
    if within is None or len(measured.restarts) > 1:
        return within
    return replace(within, low=within.low / (1 + UNKNOWN_SPREAD), high=within.high * (1 + UNKNOWN_SPREAD))
