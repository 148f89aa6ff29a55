"""A sweep in parts: its shards, how each is doing, and the files in the sweep's folder that say so.

`shards.json` is written by whoever starts the sweep, and says how it was cut. `shards/3.json` is written by the shard where it
runs. Whoever can read the folder can tell how far the sweep is, and go on with it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mtbench.engines.settings import EngineSettings
from mtbench.errors import ConfigError
from mtbench.paths import write_atomically
from mtbench.plain import from_plain, to_plain
from mtbench.plan.jobs import Plan
from mtbench.plan.protocol import Protocol

FILE = "shards.json"
FOLDER = "shards"

SILENT = timedelta(seconds=60)
"""A shard that the engine cannot be asked about counts as lost when it has been silent for this much longer than a worker may
take for one request."""


@dataclass(frozen=True)
class Shard:
    """Whole cells that are measured in one place, by their id.

    `folder` is where their records go, below the sweep's. `gpu` is its CUDA_VISIBLE_DEVICES. `processors` are those that it
    alone uses, `beside` says how many shards run on its machine at the same time, and `machine_processors` how many processors
    these have together. `machine` is the identity of the kind of machine that must measure it; None for any.
    """

    number: int
    cells: tuple[str, ...]
    estimated_s: float = 0.0
    folder: Path = Path()
    gpu: str | None = None
    processors: tuple[int, ...] = ()
    beside: int = 1
    machine_processors: int | None = None
    machine: str | None = None

    def of(self, plan: Plan) -> Plan:
        """The plan's part that is this shard's."""
        own = set(self.cells)
        return replace(plan, jobs=tuple(job for job in plan.jobs if job.cell.id in own))


@dataclass(frozen=True)
class Dealt:
    """How a sweep was cut, and which engine runs it. `retry`, `only` and `protocol` are the arguments of `resume.rest`, for
    each shard. `jobs` has the engine's own name of each shard's job."""

    settings: EngineSettings
    shards: tuple[Shard, ...]
    retry: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    protocol: Protocol | None = None
    jobs: dict[str, str] = field(default_factory=dict)

    def with_jobs(self, jobs: dict[int, str]) -> "Dealt":
        return replace(self, jobs=self.jobs | {str(number): job for number, job in jobs.items()})


@dataclass(frozen=True)
class State:
    """What a shard says of itself. `visits` of `of` visits are done; `records` are counted by status. `warnings` are for the
    sweep's user, each once."""

    status: str = "running"  # running, done, interrupted, failed
    job: str | None = None
    machine: str = ""  # its chip
    machine_id: str = ""
    gpu: str | None = None
    visits: int = 0
    of: int = 0
    records: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def read(folder: Path) -> Dealt | None:
    """How the sweep in a folder was cut; None where it was not. Raises ConfigError where the file cannot be read."""
    file = folder / FILE
    try:
        return from_plain(Dealt, json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def places(folder: Path) -> list[Path]:
    """The folders in which the jobs of a sweep have their records: its own, or one for each kind of machine."""
    dealt = read(folder)
    found = [] if dealt is None else list(dict.fromkeys(folder / shard.folder for shard in dealt.shards))
    return found or [folder]


def write(dealt: Dealt, folder: Path) -> None:
    """Raises ConfigError where the folder cannot be written."""
    try:
        write_atomically(folder / FILE, json.dumps(to_plain(dealt), indent=1))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}).") from error


def state_file(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number}.json"


def read_state(folder: Path, number: int) -> State | None:
    """What a shard said last; None where it has said nothing, or nothing that can be read."""
    try:
        return from_plain(State, json.loads(state_file(folder, number).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write_state(folder: Path, number: int, state: State) -> None:
    """Raises OSError."""
    write_atomically(state_file(folder, number), json.dumps(to_plain(state)))


def forget_states(folder: Path, numbers: Sequence[int]) -> None:
    """Removes what these shards said before, since they start anew."""
    for number in numbers:
        state_file(folder, number).unlink(missing_ok=True)


def standing(state: State | None, queued: str | None, timeout_s: float, now: datetime) -> str:
    """How a shard is doing: waiting, running, done, interrupted, failed or lost.

    `queued` is what the engine says of its job: waiting, running, or gone; None where the engine cannot be asked. In that case
    a shard that has been silent for too long (SILENT) is lost.
    """
    if queued == "waiting":  # perhaps again: it was preempted, and is to go on
        return "waiting"
    if state is None:
        return "lost" if queued == "gone" else "waiting"
    if (
        state.status == "interrupted" and queued == "running"
    ):  # it is about to be queued again, or has just started again
        return "running"
    if state.status != "running":
        return state.status
    silent = now - state.updated_at > timedelta(seconds=timeout_s) + SILENT
    return "lost" if queued == "gone" or (queued is None and silent) else "running"
