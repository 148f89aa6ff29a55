"""`mtbench compare A B`: two sweeps, or two arms, cell by cell, and the gate for continuous integration.

Where both sides of a cell were measured interleaved, in one sweep, they are compared in pairs and get a verdict. Else
the ratio of medians is *descriptive*: what changed between the sessions is not known, so there is no verdict, and the
bounds are conservative (`row.between_sessions`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mtbench.compare.differences import Difference, differences
from mtbench.compare.gate import gated
from mtbench.compare.row import Row, compared
from mtbench.compare.sides import METRICS, Measured, Side, read
from mtbench.errors import ConfigError, unknown
from mtbench.results import comparison as verdicts
from mtbench.results.words import place


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
        """Of all ratios."""
        logs = [math.log(row.ratio) for row in self.rows if row.ratio is not None]
        return math.exp(math.fsum(logs) / len(logs)) if logs else None

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.failure is not None]


def compare(
    a: str, b: str, *, metric: str = "latency", threshold: float | None = None, limit: float | None = None
) -> Table:
    """Compares what two selections (`FOLDER` or `FOLDER:ARM`) measured, matched by cell, and by arm where none is named.

    `threshold` is the relative difference that matters, by default the rule of `verdicts.threshold`. `limit` sets a
    gate: `failure` then says of each row whether B is worse than that, by the rules of `gate`.

    Raises ConfigError where a selection means nothing, the two have nothing in common, or a gate can judge nothing.
    """
    if metric not in METRICS:
        raise ConfigError(unknown("metric", metric, METRICS))
    one, other = read(a, metric), read(b, metric)
    matched, notes = _matched(one, other)
    rows = _judged(sorted((compared(*pair, threshold) for pair in matched), key=lambda one: place(one.record)))
    if not any(row.ratio is not None for row in rows) and all(_both_ok(row) for row in rows if row.a and row.b):
        raise ConfigError(f"No cell has a {metric} time on both sides.")
    pairs = [(row.a, row.b) for row in rows if row.a is not None and row.b is not None]
    notes += _cautions(rows)
    if limit is not None:
        rows, remarks = gated(rows, limit)
        notes += remarks
    return Table(one, other, metric, rows, differences(pairs), notes, limit)


def _matched(a: Side, b: Side) -> tuple[list[tuple[Measured | None, Measured | None]], list[str]]:
    """What to compare with what, and remarks on what was left out."""
    by_arm = a.arm is None or b.arm is None
    wanted = a.arm or b.arm  # one selected arm is looked for in the other side as well
    ours, theirs = (_grouped(_of_arm(side, wanted) if by_arm else side.measured, by_arm) for side in (a, b))
    if not ours.keys() & theirs.keys():
        raise ConfigError(_nothing_in_common(a, b))
    pairs = [_newest_pair(ours.get(key, []), theirs.get(key, [])) for key in {**ours, **theirs}]
    if any(one is not None and other is not None and one.path == other.path for one, other in pairs):
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
    """The newest two of one sweep, whatever came of them, else the newest of each side."""
    for one in reversed(a):
        for other in reversed(b):
            if one.path != other.path and one.record.sweep_id == other.record.sweep_id:
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


def _judged(rows: list[Row]) -> list[Row]:
    """The rows with the verdicts of the whole table corrected together."""
    left = iter(verdicts.corrected([row.comparison for row in rows if row.comparison is not None]))
    return [row if row.comparison is None else replace(row, comparison=next(left)) for row in rows]


def _cautions(rows: Sequence[Row]) -> list[str]:
    """What makes these numbers worth less than they look."""
    notes = []
    for name, sides in (("A", [row.a for row in rows]), ("B", [row.b for row in rows])):
        there = [side for side in sides if side is not None and side.ns is not None]
        drifted = sum(any(warning.startswith("drifted") for warning in side.record.warnings) for side in there)
        if drifted:
            notes.append(f"the machine drifted during {drifted} of {len(there)} jobs of {name}")
    paired = [row.comparison for row in rows if row.comparison is not None]
    short = sum(one.confidence < 1 - verdicts.ALPHA for one in paired)
    if short:
        notes.append(f"{short} of {len(paired)} comparisons have too few rounds for a verdict")
    single = sum(row.kind == "descriptive" and row.low is not None and _one_life(row) for row in rows)
    if single:
        notes.append(
            f"{single} descriptive {'ratio has' if single == 1 else 'ratios have'} a side of one restart only, so a spread "
            f"of {verdicts.UNKNOWN_SPREAD:.0%} between restarts is assumed; measure with protocol.restarts=3 or more"
        )
    return notes


def _one_life(row: Row) -> bool:
    return any(side is not None and len(side.restarts) < 2 for side in (row.a, row.b))


def _both_ok(row: Row) -> bool:
    return all(side is not None and side.record.status == "ok" for side in (row.a, row.b))
