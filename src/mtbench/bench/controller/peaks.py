"""The measured roofs: the best rates that any library reaches on this machine. They bound every result.

After the roofline model (Williams, Waterman and Patterson 2009, https://doi.org/10.1145/1498765.1498785): a call takes at
least as long as the machine's best matrix product needs for its FLOPs, and as its best transfer needs for its bytes. The
model has one memory roof per level of the memory hierarchy; here the roof is a table over working sets.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mtbench import paths, plain
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.rates import Rates
from mtbench.plain import from_plain, to_plain

METHOD = 3
"""Of measuring peaks; raised when it changes, so that what another method measured is not taken for this one's."""

OLDEST = timedelta(days=7)
"""How long measured peaks are kept. What a library and machine say of themselves is in their key; a new driver, another
power mode or a new neighbour on a shared machine is in nothing that can be read everywhere, and some seconds a week are
little to pay for noticing."""


@dataclass
class Peaks:
    """The rates that each library was measured to reach with each dtype, and the best of those that compute alike.

    Arms of one library that differ in mode, variant or compiler alone have the same products and copies, so one is measured for
    all.
    """

    measured: dict[tuple[Any, ...], tuple[tuple[str, str, str], Rates]] = field(default_factory=dict)

    def has(self, state: JobState) -> bool:
        return _source(state) in self.measured

    def note(self, state: JobState, rates: Rates) -> Rates:
        """Takes measured rates in, beside those from before; returns the better of both."""
        _, before = self.measured.get(_source(state), (None, Rates()))
        best = before.merged(rates)
        self.measured[_source(state)] = (_alike(state), best)
        return best

    def sources(self, states: Iterable[JobState]) -> list[JobState]:
        """One job of each library and dtype that was measured, of these."""
        return list({_source(state): state for state in states if self.has(state)}.values())

    def best(self, state: JobState) -> Rates:
        """The best rates of all arms on the same device with the same dtype and matmul precision."""
        found = Rates()
        for alike, rates in self.measured.values():
            if alike == _alike(state):
                found = found.merged(rates)
        return found


def _alike(state: JobState) -> tuple[str, str, str]:
    number = state.job.arm.device_index
    return (
        state.device if number is None else f"{state.device}:{number}",
        state.job.task.dtype,
        state.job.arm.matmul_precision,
    )


def _source(state: JobState) -> tuple[Any, ...]:
    arm = state.job.arm
    library = (arm.framework, arm.framework_file, arm.python, arm.requirement)
    return (*library, arm.device_name, arm.matmul_precision, state.job.task.dtype, arm.threads, arm.env, arm.own)


@dataclass(frozen=True)
class Kept:
    """Peaks from an earlier sweep, and when they were measured."""

    rates: Rates
    measured_at: datetime


class Store:
    """Peaks in the user's cache folder, a file for each library, device, dtype and precision on a machine.

    Only those that are sure are kept: a busy minute must not lower the roof for a week. What was read and has been raised since
    keeps its date, so that no peak outlives its week. Deleting the files is safe: the next sweep measures anew.
    """

    def __init__(self, machine_id: str, cpus: list[int]) -> None:
        self.machine_id = machine_id
        self.cpus = cpus
        self.folder = paths.cache() / "peaks"
        self.dates: dict[Path, datetime] = {}  # of what was read

    def key(self, state: JobState) -> dict[str, Any]:
        """All that decides on a peak, as far as it can be read."""
        arm = state.job.arm
        file = arm.framework_file and plain.fingerprint_of_bytes(Path(arm.framework_file).read_bytes())
        setup = {name: value for name, value in arm.asked.items() if name != "compile"}
        setup |= {} if arm.device_index is None else {"device_index": arm.device_index}
        setup |= {} if state.gpu_id is None else {"gpu_id": state.gpu_id}
        return setup | {
            "method": METHOD,
            "machine_id": self.machine_id,
            "cpus": self.cpus,
            "framework": arm.framework,
            "framework_file": file,
            "library": {} if state.worker is None else to_plain(state.worker),
            "dtype": state.job.task.dtype,
            "matmul_precision": arm.matmul_precision,
        }

    def read(self, state: JobState) -> Kept | None:
        """What was kept for this library here, or None where nothing fits, it is too old, or the file is broken."""
        key = self.key(state)
        try:
            kept = json.loads(self._file(key).read_text(encoding="utf-8"))
            measured_at = datetime.fromisoformat(kept["measured_at"])
            rates = from_plain(Rates, kept["rates"])
            fresh = timedelta() <= datetime.now(UTC) - measured_at <= OLDEST
            fits = kept["key"] == key
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if not (fits and fresh):
            return None
        self.dates[self._file(key)] = measured_at
        return Kept(rates, measured_at)

    def write(self, state: JobState, rates: Rates) -> None:
        """Keeps measured peaks, as far as they are sure; where the folder cannot be written, the next sweep measures again."""
        key, rates = self.key(state), rates.sure()
        if rates == Rates():
            return
        measured_at = self.dates.get(self._file(key), datetime.now(UTC))
        kept = {"key": key, "measured_at": measured_at.isoformat(), "rates": to_plain(rates)}
        with suppress(OSError):
            paths.write_atomically(self._file(key), json.dumps(kept, indent=1))

    def _file(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{key['framework']}-{key['dtype']}-{plain.fingerprint(key, 16)}.json"
