"""The measured roofs: the best rates that any library reaches on this machine. They bound every result.

After the roofline model (Williams, Waterman and Patterson 2009, https://doi.org/10.1145/1498765.1498785): a call takes at
least as long as the machine's best matrix product needs for its FLOPs, and as its best transfer needs for its bytes. The
model has one memory roof per level of the memory hierarchy; here the roof is a table over working sets.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mtbench import paths, plain
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.rates import Rates
from mtbench.plain import from_plain, to_plain
from mtbench.plan.arm import Arm

METHOD = 3
"""Version of the way that peaks are measured. It is raised when this changes, so that peaks measured in another way are not
used."""

AGAIN_PART = 0.03
"""The part of a restart's time that measuring the peaks again after it may take, all libraries and dtypes together."""

OLDEST = timedelta(days=7)
"""How long measured peaks are kept. Their key holds what the library and the machine say of themselves. A new driver, another
power mode or a new neighbour on a shared machine cannot be read everywhere, and some seconds a week are a small price for
noticing it."""


Alike = tuple[str, str, str]
"""Device, dtype and matmul precision: what shares its roofs on a machine."""


@dataclass
class Peaks:
    """The rates that each library was measured to reach with each dtype, and the best of those that compute alike.

    Arms of one library that differ only in mode, variant or compiler have the same products and copies, so one is measured for
    all. `others` are the rates that earlier sweeps measured here, by the file that keeps them. They may be of libraries that
    this sweep does not measure: how far a call is from what the machine can do does not depend on who else is measured. `own`
    are the files of the rates that this sweep reads or measures itself.
    """

    measured: dict[tuple[Any, ...], tuple[Alike, str, Rates]] = field(default_factory=dict)
    others: dict[Alike, dict[Path, tuple[str, Rates]]] = field(default_factory=dict)
    own: set[Path] = field(default_factory=set)

    def has(self, state: JobState) -> bool:
        return _source(state) in self.measured

    def note(self, state: JobState, rates: Rates) -> Rates:
        """Takes in measured rates; returns the better of these and those from before."""
        _, _, before = self.measured.get(_source(state), (None, None, Rates()))
        best = before.merged(rates)
        self.measured[_source(state)] = (_alike(state), _library(state), best)
        return best

    def knows_others(self, state: JobState) -> bool:
        return _alike(state) in self.others

    def note_others(self, state: JobState, found: dict[Path, tuple[str, Rates]]) -> None:
        """Takes in what was kept: each library's name and version, and what it reached."""
        self.others[_alike(state)] = found

    def sources(self, states: Iterable[JobState]) -> list[JobState]:
        """One job of each library and dtype that was measured, of these."""
        return list({_source(state): state for state in states if self.has(state)}.values())

    def best(self, state: JobState) -> Rates:
        """The best rates of all libraries on the same device with the same dtype and matmul precision."""
        found = Rates()
        for _, rates in self._of_alike(state):
            found = found.merged(rates)
        return found

    def raised(self, state: JobState) -> bool:
        """Whether a job's record was made with other roofs than those known now."""
        return state.peaks.at(state.bytes_moved) != self.best(state).at(state.bytes_moved)

    def set_by(self, state: JobState, working_set: float | None) -> tuple[str | None, str | None]:
        """The libraries, with their versions, that set the two roofs of a call that moves `working_set` bytes; None without a
        roof."""
        roofs = [(name, rates.at(working_set)) for name, rates in self._of_alike(state)]
        flops = [(roof.flops_per_s, name) for name, roof in roofs if roof.flops_per_s is not None]
        moved = [(roof.bytes_per_s, name) for name, roof in roofs if roof.bytes_per_s is not None]
        return max(flops)[1] if flops else None, max(moved)[1] if moved else None

    def _of_alike(self, state: JobState) -> list[tuple[str, Rates]]:
        own = [(name, rates) for alike, name, rates in self.measured.values() if alike == _alike(state)]
        return own + [one for file, one in self.others.get(_alike(state), {}).items() if file not in self.own]


def _library(state: JobState) -> str:
    return state.job.arm.framework if state.worker is None else _named(to_plain(state.worker), state.job.arm.framework)


def _named(worker: Mapping[str, Any], framework: str) -> str:
    return f"{framework} {worker.get('description', {}).get('version') or ''}".strip()


def _device(key: Mapping[str, Any]) -> str:
    return str(key["library"]["description"]["device"])


def _alike(state: JobState) -> Alike:
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


ROOF = ("method", "machine_id", "cpus", "dtype", "matmul_precision", "device_index", "gpu_id")
"""The parts of a key that say which roof a peak belongs to, whichever library reached it."""


@dataclass(frozen=True)
class Kept:
    """Peaks from an earlier sweep, and when they were measured."""

    rates: Rates
    measured_at: datetime


class Store:
    """Peaks in the user's cache folder, a file for each library, device, dtype and precision on a machine.

    Only sure peaks are kept: a busy minute must not lower the roof for a week. A peak that was read and then raised keeps its
    date, so that none outlives its week. Deleting the files is safe: the next sweep measures anew.
    """

    def __init__(self, machine_id: str, cpus: list[int]) -> None:
        self.machine_id = machine_id
        self.cpus = cpus
        self.folder = paths.cache() / "peaks"
        self.dates: dict[Path, datetime] = {}  # of what was read

    def key(self, state: JobState) -> dict[str, Any]:
        """All that decides on a peak, as far as it can be read."""
        gpu = {} if state.gpu_id is None else {"gpu_id": state.gpu_id}
        library = {} if state.worker is None else to_plain(state.worker)
        return self._asked(state.job.arm, state.job.task.dtype) | gpu | {"library": library}

    def _asked(self, arm: Arm, dtype: str) -> dict[str, Any]:
        """The part of a key that was asked for, and not read from a worker."""
        file = arm.framework_file and plain.fingerprint_of_bytes(Path(arm.framework_file).read_bytes())
        setup = {name: value for name, value in arm.asked.items() if name != "compile"}
        setup |= {} if arm.device_index is None else {"device_index": arm.device_index}
        return setup | {
            "method": METHOD,
            "machine_id": self.machine_id,
            "cpus": self.cpus,
            "framework": arm.framework,
            "framework_file": file,
            "dtype": dtype,
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

    def others(self, state: JobState) -> dict[Path, tuple[str, Rates]]:
        """What any library, by its name and version, was measured to reach on this machine's device with this dtype and
        precision, as far as it is not too old."""
        asked = self.key(state)
        return {
            file: (_named(key["library"], key["framework"]), kept.rates)
            for file, key, kept in self._fresh("*", asked["dtype"])
            if all(key.get(name) == asked.get(name) for name in ROOF) and _device(key) == state.device
        }

    def product_of(self, arm: Arm, dtype: str) -> float | None:
        """The FLOP/s that products of an arm's library were last measured to reach on the CPU here, set up as this arm is; None
        where that is not known."""
        asked = self._asked(arm, dtype)
        found = [
            (kept.measured_at, kept.rates.flops_per_s)
            for _, key, kept in self._fresh(arm.framework, dtype)
            if {name: value for name, value in key.items() if name != "library"} == asked and _device(key) == "cpu"
        ]
        return max(found)[1] if found else None

    def _fresh(self, framework: str, dtype: str) -> Iterator[tuple[Path, Mapping[str, Any], Kept]]:
        """What is kept of libraries that are not the user's own files, as far as it is not too old."""
        for file in sorted(self.folder.glob(f"{framework}-{dtype}-*.json")):
            try:
                kept = json.loads(file.read_text(encoding="utf-8"))
                key, measured_at = kept["key"], datetime.fromisoformat(kept["measured_at"])
                fresh = timedelta() <= datetime.now(UTC) - measured_at <= OLDEST
                rates = from_plain(Rates, kept["rates"])
                if fresh and key["framework_file"] is None and _device(key):
                    yield file, key, Kept(rates, measured_at)
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                continue  # a broken file counts as none

    def write(self, state: JobState, rates: Rates) -> None:
        """Keeps measured peaks, as far as they are sure; where the folder cannot be written, the next sweep measures again."""
        key, rates = self.key(state), rates.sure()
        if rates == Rates():
            return
        measured_at = self.dates.get(self._file(key), datetime.now(UTC))
        kept = {"key": key, "measured_at": measured_at.isoformat(), "rates": to_plain(rates)}
        with suppress(OSError):
            paths.write_atomically(self._file(key), json.dumps(kept, indent=1))

    def file(self, state: JobState) -> Path:
        """Where this library's peaks are kept."""
        return self._file(self.key(state))

    def _file(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{key['framework']}-{key['dtype']}-{plain.fingerprint(key, 16)}.json"
