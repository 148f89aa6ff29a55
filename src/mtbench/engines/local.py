"""Runs a plan on this machine."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mtbench import machine
from mtbench.bench.controller.job_state import Place, Sweep
from mtbench.bench.controller.keeping import check_space
from mtbench.bench.controller.process import Process
from mtbench.bench.controller.sweep import Controller
from mtbench.bench.controller.workers import StartProcess
from mtbench.engines.claim import claimed
from mtbench.engines.resume import Rest
from mtbench.errors import ConfigError
from mtbench.machine.sleep import kept_awake
from mtbench.machine.watch import Watch
from mtbench.paths import write_atomically
from mtbench.plan import jobs as plans
from mtbench.plan.jobs import Plan
from mtbench.plan.progress import Progress
from mtbench.results.record import Record

TIMING = "timing.json"
"""A file in the sweep's folder that says where its time went, in seconds: `waiting_s`, the time spent waiting for workers, by
request; and `blocks_s`, the part of it that blocks took."""


@dataclass(frozen=True)
class Outcome:
    """The last record of each job that has one, whether the user interrupted, how many records could not be written, and how
    many shards did not finish. `detached`: the sweep goes on without this process."""

    records: Sequence[Record]
    interrupted: bool
    unwritten: int = 0
    unfinished: int = 0
    detached: bool = False


@dataclass(frozen=True)
class Host:
    """What a run needs from the machine: worker processes, a watch on its state, and a way to keep it awake."""

    start_process: StartProcess = Process
    watch: Callable[[], Watch] = Watch
    kept_awake: Callable[[], AbstractContextManager[str | None]] = kept_awake


THIS_MACHINE = Host()

HERE = Place()


def run(plan: Plan, folder: Path, progress: Progress | None = None, host: Host = THIS_MACHINE) -> Outcome:
    """Measures a plan's jobs. Records go into the jobs' folders below `folder` as they come, the plan beside them.

    Raises ConfigError where the folder cannot be written, or another process measures into it."""
    write_plan(plan, folder)
    with claimed(folder):
        return measure(Rest(plan, plan.protocol, plan.jobs), folder, progress, host)


def run_rest(rest: Rest, folder: Path, progress: Progress | None = None, host: Host = THIS_MACHINE) -> Outcome:
    """Measures what is left of a plan. Raises ConfigError where its folder cannot be written, or where a library is not what
    it was when the sweep was begun."""
    write_plan(rest.plan, folder)
    return measure(rest, folder, progress, host)


def measure(
    rest: Rest,
    folder: Path,
    progress: Progress | None = None,
    host: Host = THIS_MACHINE,
    place: Place = HERE,
    timing: Path = Path(TIMING),
) -> Outcome:
    """Like `run_rest`, but does not write the plan: `rest` may be a part of one. `place` says in the records where they ran;
    `timing` is the file below the folder that `TIMING` describes."""
    plan = replace(rest.plan, jobs=rest.jobs, protocol=rest.protocol)
    description = machine.describe()
    cache_bytes = max(description.get("last_level_cache_bytes") or 0, plan.protocol.cold_cache_bytes)
    protocol = replace(plan.protocol, cold_cache_bytes=cache_bytes)
    sweep = Sweep(plan.id, protocol, machine.identity(description), description, place, plan.earlier)
    progress = progress or Progress()
    with host.watch() as watch, host.kept_awake() as sleepy:
        if sleepy is not None:
            progress.warn(sleepy)
        if (tight := check_space(folder, len(plan.jobs), protocol)) is not None:
            progress.warn(tight)
        controller = Controller(plan, sweep, progress, watch, start_process=host.start_process, begun=rest.begun)
        records, interrupted = controller.run(folder)
    with suppress(OSError):  # no result needs this file
        blocks_s = sum(state.blocks_ns for state in controller.states) / 1e9
        spent = {"waiting_s": controller.workers.waiting_s, "blocks_s": blocks_s}
        write_atomically(folder / timing, json.dumps(spent, indent=1))
    return Outcome(records, interrupted, controller.unwritten)


def write_plan(plan: Plan, folder: Path) -> None:
    """Writes a plan into its sweep's folder, unless it is there already. Raises ConfigError where it cannot be written."""
    file, text = folder / plans.FILE_NAME, plan.to_json()
    try:
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_atomically(file, text)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); name another folder, or make room."
        ) from error
