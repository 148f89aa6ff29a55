"""The outcome of a self-test: rows with verdicts, kept as JSON, where a report finds them.

It is read without anything that measures.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtbench import plain
from mtbench.paths import write_atomically
from mtbench.results.version import __version__

SCHEMA_VERSION = 1
FILE_NAME = "selftest.json"

MET, MISSED, NOT_SHOWN, REPORTED, NOT_POSSIBLE = "met", "missed", "not shown", "reported", "n/a"
"""The verdicts. not shown: there were too few trials to tell whether the goal is met; how few is said after it ("with n=20").
reported: there is no goal on this kind of machine. n/a: it cannot be measured here."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `numbers` are what it was judged by; `detail` says where they came from."""

    what: str
    goal: str
    measured: str
    verdict: str
    detail: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The verdict without its number of trials."""
        return self.verdict.partition(" with ")[0]


@dataclass(frozen=True)
class Outcome:
    """The table, and where it was made."""

    rows: tuple[Row, ...]
    kind: str  # dedicated or shared
    why: str
    device: str  # cpu, or the GPU's name
    library: str
    quick: bool
    seconds: float
    created: str  # ISO 8601, UTC
    machine_id: str
    machine: dict[str, Any]
    mtbench_version: str = __version__
    left_out: tuple[str, ...] = ()  # parts that were not asked for, or not reached

    @property
    def passed(self) -> bool:
        """Whether no goal was missed. A goal that too few trials left open is no failure; the summary counts it."""
        return all(row.status != MISSED for row in self.rows)

    @property
    def summary(self) -> str:
        """How many goals were met, and how many not."""
        judged = [row.status for row in self.rows if row.status not in (REPORTED, NOT_POSSIBLE)]
        parts = [f"{judged.count(MET)} of {len(judged)} goals met"]
        parts += [f"{judged.count(NOT_SHOWN)} not shown either way"] if NOT_SHOWN in judged else []
        parts += [f"{judged.count(MISSED)} missed"] if MISSED in judged else []
        parts += [f"without {', '.join(self.left_out)}"] if self.left_out else []
        return ", ".join(parts) + "."

    @property
    def where(self) -> str:
        """The machine and what measured on it, in a few words."""
        chip = str(self.machine.get("chip") or f"machine {self.machine_id}")
        return ", ".join([chip, *([] if self.device == "cpu" else [self.device]), self.library])


def write(outcome: Outcome, file: Path) -> None:
    """Writes the outcome; a reader sees the old file or the new one, never half."""
    values = {"schema_version": SCHEMA_VERSION, **plain.to_plain(outcome)}
    write_atomically(file, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read(file: Path) -> Outcome:
    """The outcome that a file holds. Raises ValueError where it holds none."""
    if not file.is_file():  # a pipe would be waited for for ever
        raise ValueError("not a file")
    values = json.loads(file.read_text(encoding="utf-8"))
    try:
        if values.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("another version of mtbench wrote it")
        plain.from_plain(Outcome, values)  # every type is as declared
        rows = tuple(Row(**row) for row in values.pop("rows"))
        return Outcome(rows=rows, left_out=tuple(values.pop("left_out", ())), **values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not the outcome of a self-test ({error or type(error).__name__})") from None


def newest(folders: Iterable[Path]) -> tuple[list[Outcome], list[str]]:
    """The last outcome of each machine and device below these folders, and a line for each file that holds none."""
    found: dict[tuple[str, str], Outcome] = {}
    problems = []
    for file in sorted({path for folder in folders for path in folder.rglob(FILE_NAME)}):
        try:
            outcome = read(file)
        except (ValueError, OSError, RecursionError) as error:
            problems.append(f"{file}: left out, {error}")
            continue
        key = outcome.machine_id, outcome.device
        if key not in found or outcome.created > found[key].created:
            found[key] = outcome
    return sorted(found.values(), key=lambda outcome: outcome.created, reverse=True), problems
