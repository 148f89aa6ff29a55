"""Keeps records: on disk where possible, else in memory until it is. A full disk must not cost a night's sweep."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mtbench import interrupts
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results.format import plural
from mtbench.results.record import FILE_NAME, Record, write

PAUSES_S = (0.0, 0.1, 0.5)
"""Before each try of one write: a network's file system may fail for a moment."""

JOB_BYTES = 65_536
"""Bytes on disk of one job without its samples: a record without any has 20 kB, and Hydra's four files take whole blocks."""

BLOCK_BYTES = 64
"""Bytes on disk of one block's samples: zstd leaves 2 to 4 bytes a call, and a block has five to some hundreds of calls."""


class Keeping:
    """Writes records below a folder. A record that cannot be written waits, and is tried again when another one was written."""

    def __init__(self, folder: Path, progress: Progress, rest: Callable[[float], None] | None = None) -> None:
        self.folder = folder.absolute()  # now, since the folder in which we are may vanish
        self.progress = progress
        self.rest = rest or time.sleep
        self.waiting: dict[Path, Record] = {}
        self.reason = ""  # of the last failure

    def write(self, record: Record, place: Path) -> None:
        """Writes a record into `place` below the folder, or keeps it in memory; a signal waits until that is done."""
        self.waiting[place] = record
        if self._write(place, PAUSES_S if len(self.waiting) == 1 else PAUSES_S[:1]) and self.waiting:
            self._write_waiting()

    def finish(self) -> int:
        """Tries once more to write the records that wait. Returns how many could not be written, after a warning."""
        self._write_waiting()
        if left := len(self.waiting):
            older = sum((self.folder / place / FILE_NAME).is_file() for place in self.waiting)
            self.progress.warn(
                f"{left} {plural(left, 'record')} could not be written into {self.folder} ({self.reason})"
                + (f"; {older} of them {'is' if older == 1 else 'are'} there in an earlier state" if older else "")
            )
        return left

    def _write_waiting(self) -> None:
        for place in list(self.waiting):
            if not self._write(place, PAUSES_S[:1]):
                return

    def _write(self, place: Path, pauses: tuple[float, ...]) -> bool:
        for pause in pauses:
            if pause:
                self.rest(pause)
            try:
                with interrupts.held():
                    write(self.waiting[place], self.folder / place)
                    del self.waiting[place]
                return True
            except OSError as error:
                self.reason = error.strerror or str(error)
        self.progress.warn(
            f"a record cannot be written into {self.folder} ({self.reason}); the sweep goes on, and keeps in memory "
            "what it cannot write"
        )
        return False


def check_space(folder: Path, jobs: int, protocol: Protocol) -> str | None:
    """A warning where the folder's disk has less space than the records of `jobs` jobs may take; None where it has enough."""
    needed = jobs * (JOB_BYTES + protocol.restarts * protocol.rounds * protocol.block_calls * BLOCK_BYTES)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return None
    if free >= needed:
        return None
    return (
        f"the disk of {folder.absolute()} has {free / 1e6:,.1f} MB free, and the records of {jobs:,} {plural(jobs, 'job')} may "
        f"take {needed / 1e6:,.1f} MB"
    )
