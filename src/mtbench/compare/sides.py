"""The two sides of a comparison: which records a user's `FOLDER` or `FOLDER:ARM` means, and what they measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError, unknown
from mtbench.results import record, samples
from mtbench.results.comparison import Timing, timings
from mtbench.results.files import exists
from mtbench.results.memory import uncollected
from mtbench.results.record import Record
from mtbench.results.stats import Interval

_FILES_AT_ONCE = 500


@dataclass(frozen=True)
class Measured:
    """A record without its samples, and what these come to in the metric that is compared: no `timing` where there is no
    time, or the answer was not found right."""

    record: Record
    path: str
    timing: Timing | None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Which record it is: a merged file has many."""
        return self.path, self.record.sweep_id, self.record.job_id

    @property
    def ns(self) -> float | None:
        """The median time of a call."""
        return None if self.timing is None else self.timing.ns

    @property
    def interval(self) -> Interval | None:
        """The median with its bounds; None where nothing bounds it, as device times and a lone block."""
        return None if self.timing is None else self.timing.interval

    @property
    def power_sources(self) -> str | None:
        """mains, battery, or both, during the measurement; what the machine said at its start where nothing was watched."""
        watched = {reading.get("power_source") for reading in json.loads(self.record.conditions)} - {None}
        return ", ".join(sorted(watched)) or json.loads(self.record.machine).get("power_source")


@dataclass(frozen=True)
class Side:
    """What one argument of the command means. `problems` has a line for each file that is no record."""

    text: str
    folder: Path
    arm: str | None
    measured: list[Measured]
    problems: list[str] = field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        return sorted({one.record.arm for one in self.measured})

    def of_arm(self, text: str, arm: str | None) -> "Side":
        """The records of one arm, or all; `text` is what a comparison calls them. Raises ConfigError where there is no such
        arm."""
        if arm is None:
            return replace(self, text=text)
        if arm not in self.arms:
            raise ConfigError(f"{self.folder}: {unknown('arm', arm, self.arms)}")
        return replace(self, text=text, arm=arm, measured=[one for one in self.measured if one.record.arm == arm])


def read(text: str, metric: str) -> Side:
    """Reads the records that `FOLDER` or `FOLDER:ARM` means, recursively.

    Raises ConfigError where there is no such folder, no record in it, or no such arm.
    """
    folder, arm = _split(text)
    return of([folder], text, arm, metric)


def read_two(a: str, b: str, metric: str) -> tuple[Side, Side]:
    """`read` of two selections; a folder that both name is read once."""
    (folder, arm), (other_folder, other_arm) = _split(a), _split(b)
    with uncollected():
        one = of([folder], a, None, metric)
        other = one if other_folder == folder else of([other_folder], b, None, metric)
    return one.of_arm(a, arm), other.of_arm(b, other_arm)


def of(folders: Sequence[Path], text: str, arm: str | None, metric: str) -> Side:
    """The records below folders, of one arm where it is named; `text` is what a comparison calls them. Raises ConfigError."""
    measured: list[Measured] = []
    problems: list[str] = []
    files = record.find(folders)
    for start in range(0, len(files), _FILES_AT_ONCE):  # samples are most of a record, so they are reduced in portions
        frame, unreadable = record.read(files[start : start + _FILES_AT_ONCE])
        measured += _measured(frame, metric)
        for folder in folders:
            unreadable = [line.replace(f"{folder.resolve()}", f"{folder}") for line in unreadable]
        problems += unreadable
    where = ", ".join(map(str, folders))
    if not measured:
        raise ConfigError(problems[0] if problems else f"No records under {where}.")
    return Side(text, folders[0], None, measured, problems).of_arm(text, arm)


def _split(text: str) -> tuple[Path, str | None]:
    """The folder and the arm; a folder may itself have a colon in its name."""
    if exists(Path(text)):
        return Path(text), None
    colons = [place for place, character in enumerate(text) if character == ":"]
    for colon in reversed(colons):
        if exists(Path(text[:colon])):
            return Path(text[:colon]), text[colon + 1 :]
    folder = text[: colons[-1]] if colons else text
    raise ConfigError(f"There is no folder {folder}. Give the folder of a sweep, or FOLDER:ARM for one arm of it.")


def _measured(frame: Any, metric: str) -> Iterator[Measured]:
    """The rows of a Polars frame of records."""
    found = timings(frame.with_row_index("row"), metric, samples.table(frame, metric))
    records = record.of_rows(frame.drop(samples.COLUMNS.values()))
    for number, (one, path) in enumerate(zip(records, frame["path"], strict=True)):
        yield Measured(one, path, found.get(number))
