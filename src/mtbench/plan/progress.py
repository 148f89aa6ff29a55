"""What a sweep tells whoever watches it. The terminal view is one watcher; a silent one serves tests and other programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtbench.plan.jobs import Arm, Cell
from mtbench.results.record import Record


@dataclass(frozen=True)
class Extent:
    """What is about to be measured. `visits` is how often a cell is visited in all: cells times restarts, of which some may
    have been measured before: `begun`, in restarts."""

    cells: int
    arms: Sequence[Arm]
    jobs: int
    restarts: int
    folder: Path  # where the records go
    begun: int = 0

    @property
    def visits(self) -> int:
        return self.cells * self.restarts


@dataclass(frozen=True)
class Standing:
    """How a shard of a sweep is doing: waiting, running, done, interrupted, failed or lost; `where` is its machine, its GPU and
    the engine's job, as far as they are known."""

    shard: int
    status: str
    visits: int = 0
    of: int = 0
    where: str = ""
    reason: str | None = None


class Progress:
    """Told of a sweep's progress; does nothing. Methods are called between blocks, never while one is timed."""

    def sweep_started(self, extent: Extent) -> None: ...

    def restart_started(self, restart: int) -> None:
        """`restart` counts from 0. Workers are being started."""

    def cell_started(self, cell: Cell, arms: Sequence[Arm]) -> None: ...

    def arm_preparing(self, arm: Arm) -> None:
        """The arm of the current cell is being built, compiled, checked and warmed up, which can take a while."""

    def round_finished(self, rounds: int, of: int, medians_ns: Mapping[str, float]) -> None:
        """After each round of the current cell: how many are done, of at most how many, and each arm's running median."""

    def job_recorded(self, record: Record) -> None:
        """A job's record was written; it comes again, sharper, after each restart."""

    def cell_finished(self, cell: Cell) -> None: ...

    def shards_seen(self, standings: Sequence[Standing]) -> None:
        """A sweep that runs in several places: how each of its shards is doing. Comes again and again."""

    def note(self, message: str) -> None:
        """Something that the user should know and that is nothing to worry about."""

    def warn(self, message: str) -> None: ...

    def sweep_finished(self, records: Sequence[Record], interrupted: bool) -> None: ...
