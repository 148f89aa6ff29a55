"""`mtbench compare A B`: two sweeps, or two arms, cell by cell, and the gate for continuous integration.

Where both sides of a cell were measured interleaved, in one sweep, they are compared in pairs and get a verdict. Else
the ratio of medians is *descriptive*: what changed between the sessions is not known, so there is no verdict, and the
bounds are conservative (`results.comparison.between_sessions`). `compare_by` sets records of one folder against each other
that differ in one axis, such as dtype.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from mtbench.compare import by
from mtbench.compare.differences import Difference, differences
from mtbench.compare.gate import gated
from mtbench.compare.row import Row, compared
from mtbench.compare.sides import Measured, Side, read, read_two
from mtbench.errors import ConfigError, unknown
from mtbench.results import cells, comparison
from mtbench.results.answers.regimes import regime
from mtbench.results.cells import Held
from mtbench.results.format import percent
from mtbench.results.samples import METRICS


@dataclass(frozen=True)
class Table:
    """What a comparison found. `limit` is the gate's, or None; `notes` are remarks on what was read."""

    a: Side
    b: Side
    metric: str
    rows: list[Row]
    differences: list[Difference]
    notes: list[str]
    limit: float | None = None

    @property
    def geometric_mean(self) -> float | None:
        """Of all ratios; None where they are of several regimes or dtypes, over which a mean says nothing."""
        kinds = {(regime(vars(row.record)), row.held.dtype) for row in self.rows if row.ratio is not None}
        found = [row.ratio for row in self.rows if row.ratio is not None]
        return comparison.geometric_mean(found) if len(kinds) == 1 else None

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.failure is not None]


def compare(
    a: str, b: str, *, metric: str = "latency", threshold: float | None = None, limit: float | None = None
) -> Table:
    """Compares what two selections (`FOLDER` or `FOLDER:ARM`) measured, matched by cell, and by arm where none is named.

    `threshold` is the relative difference that matters, by default the rule of `comparison.threshold`. `limit` sets a
    gate: `failure` then says of each row whether B is worse than that, by the rules of `gate`.

    Raises ConfigError where a selection means nothing, the two have nothing in common, or a gate can judge nothing.
    """
    if metric not in METRICS:
        raise ConfigError(unknown("metric", metric, METRICS))
    return compare_sides(*read_two(a, b, metric), metric, threshold, limit)


def compare_sides(
    one: Side, other: Side, metric: str, threshold: float | None = None, limit: float | None = None
) -> Table:
    """As `compare`, of two selections that were read."""
    matched, notes = _matched(one, other)
    held = _held([*one.measured, *other.measured])
    rows = compared([_row(pair, held) for pair in matched], threshold)
    if not any(row.comparison for row in rows) and all(_both_ok(row) for row in rows if row.a and row.b):
        raise ConfigError(f"No cell has a {metric} time on both sides.")
    return table(one, other, metric, rows, notes, limit)


def compare_by(
    folder: str, axis: str, *, metric: str = "latency", threshold: float | None = None, limit: float | None = None
) -> Table:
    """Compares what was measured in one selection along an axis, such as `dtype`, `framework` or `operator.params.bits`.

    Its first value is the baseline, A; all others are B. Raises ConfigError as `compare` does, and for no such axis.
    """
    if metric not in METRICS:
        raise ConfigError(unknown("metric", metric, METRICS))
    side = read(folder, metric)
    rows, values = by.rows(side.measured, axis, threshold)
    if not any(row.comparison for row in rows):
        raise ConfigError(f"No two records that differ in {axis} alone have a {metric} time.")
    first, others = (replace(side, text=f"{folder}, {axis} {text}") for text in (values[0], ", ".join(values[1:])))
    return table(first, others, metric, rows, list(side.problems), limit)


def table(a: Side, b: Side, metric: str, rows: Sequence[Row], notes: list[str], limit: float | None = None) -> Table:
    """Rows as a table, in order, with verdicts corrected within families and judged by the gate where there is one."""
    rows = sorted(rows, key=lambda row: (row.held.place, row.record.cell_id))
    families = [cells.family(row.held, *(name or "" for name in row.names)) for row in rows]
    found = _judged(rows, families)
    pairs = [(row.a, row.b) for row in found if row.a is not None and row.b is not None]
    notes = notes + _cautions(found)
    if limit is not None:
        found, remarks = gated(found, limit)
        notes += remarks
    return Table(a, b, metric, found, differences(pairs), notes, limit)


def _held(measured: Iterable[Measured]) -> dict[str, Held]:
    """What is held equal in each cell, by its fingerprint."""
    found: dict[str, list[Measured]] = {}
    for one in measured:
        found.setdefault(one.record.cell_id, []).append(one)
    return {cell: cells.held([vars(one.record) for one in members]) for cell, members in found.items()}


def _row(pair: tuple[Measured | None, Measured | None], held: dict[str, Held]) -> Row:
    a, b = pair
    cell = next(side.record.cell_id for side in pair if side is not None)
    names = (None if a is None else a.record.arm), (None if b is None else b.record.arm)
    return Row(a, b, held[cell], names)


def _matched(a: Side, b: Side) -> tuple[list[tuple[Measured | None, Measured | None]], list[str]]:
    """The pairs to compare, and remarks on what was left out."""
    by_arm = a.arm is None or b.arm is None
    wanted = a.arm or b.arm  # one selected arm is looked for in the other side as well
    ours, theirs = (_grouped(_of_arm(side, wanted) if by_arm else side.measured, by_arm) for side in (a, b))
    if not ours.keys() & theirs.keys():
        raise ConfigError(_nothing_in_common(a, b))
    pairs = [_newest_pair(ours.get(key, []), theirs.get(key, [])) for key in {**ours, **theirs}]
    if any(one is not None and other is not None and one.identity == other.identity for one, other in pairs):
        raise ConfigError(f"{a.text} and {b.text} are the same records; name an arm on each side, as FOLDER:ARM.")
    older = sum(len(group) - 1 for groups in (ours, theirs) for group in groups.values())
    notes = [f"{older} older records of the same jobs were left out"] if older else []
    return pairs, [*dict.fromkeys(a.problems + b.problems), *notes]


def _of_arm(side: Side, arm: str | None) -> list[Measured]:
    if arm is not None and arm not in side.arms:
        raise ConfigError(f"{side.text}: {unknown('arm', arm, side.arms)}")
    return [one for one in side.measured if arm in (None, one.record.arm)]


def _grouped(measured: Iterable[Measured], by_arm: bool) -> dict[tuple[str, ...], list[Measured]]:
    """Records that compete for one place in the table, oldest first."""
    groups: dict[tuple[str, ...], list[Measured]] = {}
    for one in measured:
        key = (one.record.cell_id, one.record.arm) if by_arm else (one.record.cell_id,)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        group.sort(key=lambda one: (one.record.finished_at is not None, one.record.finished_at, one.path))
    return groups


def _newest_pair(a: Sequence[Measured], b: Sequence[Measured]) -> tuple[Measured | None, Measured | None]:
    """The newest two of one sweep, whatever their status, else the newest of each side."""
    for one in reversed(a):
        for other in reversed(b):
            if one.identity != other.identity and one.record.sweep_id == other.record.sweep_id:
                return one, other
    return (a[-1] if a else None), (b[-1] if b else None)


def _nothing_in_common(a: Side, b: Side) -> str:
    cells = [{one.record.cell_id for one in side.measured} for side in (a, b)]
    if not cells[0] & cells[1]:
        return f"{a.text} and {b.text} have no cell in common (same operator, parameters, dtype and shape)."
    return (
        f"{a.text} and {b.text} have no arm in common ({', '.join(a.arms)}; {', '.join(b.arms)}); "
        "name one on each side, as FOLDER:ARM."
    )


def _judged(rows: Sequence[Row], families: Sequence[Hashable]) -> list[Row]:
    """The rows with the verdicts of each family corrected together."""
    found = [(family, row.comparison) for row, family in zip(rows, families, strict=True) if row.comparison]
    left = iter(comparison.judged(found))
    return [row if row.comparison is None else replace(row, comparison=next(left)) for row in rows]


def _cautions(rows: Sequence[Row]) -> list[str]:
    """Warnings about what makes these numbers less certain than they look."""
    notes = []
    for name, sides in (("A", [row.a for row in rows]), ("B", [row.b for row in rows])):
        there = [side for side in sides if side is not None and side.ns is not None]
        drifted = sum(any(warning.startswith("drifted") for warning in side.record.warnings) for side in there)
        if drifted:
            notes.append(f"the machine drifted during {drifted} of {len(there)} jobs of {name}")
    paired = [row.comparison for row in rows if row.comparison is not None and row.comparison.interleaved]
    short = sum(one.confidence < 1 - comparison.ALPHA for one in paired)
    if short:
        notes.append(f"{short} of {len(paired)} comparisons have too few rounds for a verdict")
    informed = sum(one.spread_of_earlier for one in paired)
    if informed:
        notes.append(f"{informed} of {len(paired)} ratios have intervals with the spread of earlier sweeps")
    single = sum(row.outcome == "descriptive" and _bounded(row) and _one_restart(row) for row in rows)
    if single:
        notes.append(
            f"{single} descriptive {'ratio has' if single == 1 else 'ratios have'} a side with only one restart, so a spread "
            f"of {percent(comparison.UNKNOWN_SPREAD)} between restarts is assumed; measure with protocol.restarts=3 or more"
        )
    return notes


def _bounded(row: Row) -> bool:
    return row.comparison is not None and row.comparison.bounds is not None


def _one_restart(row: Row) -> bool:
    return any(side is not None and side.timing is not None and side.timing.restarts < 2 for side in (row.a, row.b))


def _both_ok(row: Row) -> bool:
    return all(side is not None and side.record.status == "ok" for side in (row.a, row.b))
