"""One line of a comparison: one arm, or a pair of arms, in one cell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mtbench.compare.sides import Measured
from mtbench.results import comparison
from mtbench.results.cells import Held
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison


@dataclass(frozen=True)
class Row:
    """One arm, or one pair of arms, in one cell. A side that was not measured there is None.

    `held` is what is held equal, `names` what the sides are called within it. `comparison` is None where one of them has no
    time; its verdict is corrected with those of its family. `failure` says why a gate rejects this row.
    """

    a: Measured | None
    b: Measured | None
    held: Held
    names: tuple[str | None, str | None]
    comparison: Comparison | None = None
    failure: str | None = None

    @property
    def record(self) -> Record:
        """Of either side: what both have in common can be read from it."""
        side = self.a or self.b
        assert side is not None
        return side.record

    @property
    def arms(self) -> str:
        return " -> ".join(dict.fromkeys(name for name in self.names if name is not None))

    @property
    def ratio(self) -> float | None:
        return None if self.comparison is None else self.comparison.ratio

    @property
    def outcome(self) -> str:
        """The verdict, or what stands in its place."""
        if self.a is None or self.b is None:
            return "only in A" if self.b is None else "only in B"
        return "not compared" if self.comparison is None else self.comparison.verdict


def compared(rows: Sequence[Row], threshold: float | None) -> list[Row]:
    """The rows, each with its two sides compared by the rule of every display, where both have a time."""
    timed = [
        (row.a.timing, row.b.timing) if row.a and row.b and row.a.timing and row.b.timing else None for row in rows
    ]
    found = iter(comparison.against_all([pair for pair in timed if pair is not None], threshold))
    return [
        row if pair is None else replace(row, comparison=next(found)) for row, pair in zip(rows, timed, strict=True)
    ]
