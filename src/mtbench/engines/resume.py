"""Going on with a sweep: what its folder holds, what is left to be measured, and what stands in the way of measuring it.

The plan in the folder decides. A cell goes on from the first restart that one of its arms lacks, so that its arms stay
interleaved. If an arm has no record at all, that is the very first one. All other records stay on disk as they are.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mtbench import machine
from mtbench.bench.controller.begun import Begun, state_of
from mtbench.bench.controller.job_state import ENDED_EARLY
from mtbench.errors import ConfigError, unknown
from mtbench.plain import to_json
from mtbench.plan import jobs as plans
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records
from mtbench.results.format import plural
from mtbench.results.record import MEASURED, SCHEMA_VERSION, STATUSES, Record

CHANGEABLE = ("restarts", "stop_after", "stop_when_hot")
"""Settings that may change when a sweep goes on. If any other changed, its samples would not be of one kind."""

OF_THE_WHOLE = (*CHANGEABLE, "cell_budget_s", "baseline", "cold_cache_bytes")
"""Settings in which records of one sweep may differ. The cell's budget is one visit's budget times the restarts; the cache is
the machine's."""


@dataclass(frozen=True)
class Rest:
    """What is left of a sweep: `jobs`, measured by `protocol`. `plan` is what its folder is to hold; `retry` and `only` are the
    arguments of `rest`."""

    plan: Plan
    protocol: Protocol
    jobs: tuple[Job, ...]
    begun: Begun = field(default_factory=Begun)
    retry: tuple[str, ...] = ()
    only: frozenset[str] | None = None

    @property
    def cells(self) -> int:
        return len({job.cell.id for job in self.jobs})

    def __str__(self) -> str:
        """`9 of 12 jobs are done; 3 in 2 cells are left (1 cell has some restarts already)`."""
        total, left = len(self.plan.jobs), len(self.jobs)
        failed = sum(record.status not in (*MEASURED, "unsupported") for record in self.begun.kept)
        told = f" ({failed:,} without a result, which --retry measures again)" if failed else ""
        if not left:
            return f"all {total:,} {plural(total, 'job')} are done{told}; nothing is left"
        begun = sum(count > 0 for count in self.begun.restarts.values())
        cells = f"{self.cells:,} {plural(self.cells, 'cell')}"
        said = f"{total - left:,} of {total:,} jobs are done{told}; {left:,} in {cells} are left"
        there = f" ({begun:,} {'cell has' if begun == 1 else 'cells have'} some restarts already)"
        return said + (there if begun else "")


def read_plan(folder: Path) -> Plan:
    """The plan of the sweep in a folder. Raises ConfigError where there is none."""
    file = folder / plans.FILE_NAME
    try:
        if not file.is_file():
            raise ConfigError(f"{folder} is no folder of a sweep: it has no {plans.FILE_NAME}.")
        return Plan.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def continued(plan: Plan, folder: Path, left: Callable[[Plan, Path], Rest] | None = None) -> Rest | None:
    """What is left to be measured if the folder holds a sweep of the same jobs; None if it does not, so that everything is.

    `left` takes the place of `rest`. Raises ConfigError where the jobs in the folder were measured by other settings.
    """
    try:
        before = read_plan(folder)
    except ConfigError:
        return None
    if _identities(before) != _identities(plan):
        return None
    if said := _differing(asdict(before.protocol), asdict(plan.protocol)):
        raise ConfigError(f"{folder} holds these jobs with another {said}; name another folder.")
    protocol = sharpened(before.protocol, plan.protocol.restarts, plan.protocol)
    return (left or rest)(replace(before, protocol=protocol), folder)


def _identities(plan: Plan) -> set[tuple[str, str, Path]]:
    return {(job.id, job.cell.id, job.folder) for job in plan.jobs}


def changed(plan: Plan, settings: Sequence[str]) -> Protocol:
    """The plan's protocol with `protocol.restarts=10`, for instance. Raises ConfigError."""
    values: dict[str, float | int | str | None] = {}
    for setting in settings:
        key, given, text = setting.partition("=")
        name = key.removeprefix("protocol.")
        if not given or not key.startswith("protocol.") or name not in CHANGEABLE:
            known = ", ".join(f"protocol.{each}" for each in CHANGEABLE)
            raise ConfigError(f"{setting} cannot be changed in a sweep that has begun; these can: {known}.")
        kinds: Mapping[str, type[int] | type[float] | type[str]] = {"restarts": int, "stop_after": float}
        try:
            values[name] = None if text == "null" else kinds.get(name, str)(text)
        except ValueError:
            raise ConfigError(f"{setting} does not fit: {name} is a number.") from None
        if values[name] is None and name != "stop_when_hot":
            raise ConfigError(f"{setting} does not fit: {name} is a number.")
    made = replace(plan.protocol, **values)  # type: ignore[arg-type]  # each has been read as its own type
    return sharpened(plan.protocol, made.restarts, made)


def sharpened(before: Protocol, restarts: int, protocol: Protocol | None = None) -> Protocol:
    """The protocol with more restarts. Visits stay as long as they were, so the budget of a cell grows with its restarts.
    Raises ConfigError where there would be fewer restarts than before."""
    if restarts < before.restarts:
        raise ConfigError(f"protocol.restarts={restarts} is less than the {before.restarts} that the sweep has.")
    same = restarts == before.restarts
    budget_s = before.cell_budget_s if same else before.visit_budget_s * restarts
    return replace(protocol or before, restarts=restarts, cell_budget_s=budget_s)


def read_records(plan: Plan, folder: Path) -> dict[str, Record]:
    """The records of the plan that can be read, by job id. Records of another sweep in the same place are left out."""
    by_path = {(folder / job.folder / records.FILE_NAME).absolute(): job for job in plan.jobs}
    frame, _ = records.read([path for path in by_path if path.is_file()])
    found = zip(map(Path, frame["path"]), records.of_rows(frame), strict=True)
    return {
        record.job_id: record
        for path, record in found
        if record.sweep_id == plan.id and record.job_id == by_path[path.absolute()].id
    }


def rest(
    plan: Plan,
    folder: Path,
    retry: Collection[str] = (),
    only: Collection[str] | None = None,
    protocol: Protocol | None = None,
    elsewhere: str = "refuse",
    gpu_id: str | None = None,
) -> Rest:
    """What is left of a sweep.

    Cells with a job whose status is in `retry` are measured again. If `only` is given, no cells but these (their id) are
    measured. `protocol` replaces the plan's own. `elsewhere` says what becomes of records from another machine: `refuse` raises
    ConfigError; `count` takes them as they are, to tell how far a sweep on several machines is; `anew` keeps complete cells,
    and measures from the first restart those that were only begun there, or on another GPU than `gpu_id`. Raises ConfigError
    where a status in `retry` is unknown, or records are not of one kind.
    """
    for status in retry:
        if status not in STATUSES[1:]:
            raise ConfigError(unknown("status for --retry", status, STATUSES[1:]))
    protocol = protocol or plan.protocol
    found = read_records(plan, folder)
    left: list[Job] = []
    begun: dict[str, int] = {}
    here = machine.identity(machine.describe())
    for cell in plan.by_cell():
        going, restarts = _left_of(cell, found, retry, protocol.restarts)
        if going and elsewhere == "anew" and any(_elsewhere(found.get(job.id), here, gpu_id) for job in cell):
            going, restarts = cell, 0
        if going and (only is None or cell[0].cell.id in only):
            left += going
            begun[cell[0].cell.id] = restarts
    measured = {job.id for job in left}
    states = {job.id: state_of(job, found[job.id], restarts) for job in left if (restarts := begun[job.cell.id])}
    kept = [found[job.id] for job in plan.jobs if job.id in found and job.id not in measured]
    staying = [*kept, *(found[job] for job in states)]
    staying = staying if elsewhere == "refuse" else [one for one in staying if not _elsewhere(one, here)]
    _check(protocol, staying)
    libraries = {
        record.arm: (record.library_version, record.device_kind) for record in staying if record.status in MEASURED
    }
    order = tuple(job.id for job in plan.jobs)
    jobs = tuple(job for job in plan.jobs if job.id in measured)
    asked = tuple(retry), None if only is None else frozenset(only)
    return Rest(plan, protocol, jobs, Begun(states, begun, kept, libraries, order), *asked)


def _elsewhere(record: Record | None, here: str, gpu_id: str | None = None) -> bool:
    """Whether a record is of another machine than this one, or of another card than this one."""
    if record is None:
        return False
    return record.machine_id != here or (None not in (gpu_id, record.gpu_id) and record.gpu_id != gpu_id)


def _left_of(
    cell: Sequence[Job], found: Mapping[str, Record], retry: Collection[str], restarts: int
) -> tuple[list[Job], int]:
    """The arms of a cell that are to be measured, and how many restarts they have already."""
    outcomes = {job.id: _outcome(found.get(job.id)) for job in cell}
    timed = [job for job in cell if job.id in found and found[job.id].status in MEASURED]
    whole = [job for job in cell if job in timed or outcomes[job.id] in (*retry, "interrupted")]
    if any(outcomes[job.id] in (*retry, "interrupted") for job in cell):
        return whole, 0
    sound = [found[job.id] for job in timed if outcomes[job.id] in MEASURED]
    ended = [found[job.id] for job in timed if outcomes[job.id] not in MEASURED]
    if not sound or all(record.restarts >= restarts for record in sound):
        return [], restarts
    there = _restarts_together(sound, ended)
    return (whole, 0) if there == 0 else ([job for job in timed if outcomes[job.id] in MEASURED], there)


def _restarts_together(sound: Sequence[Record], ended: Sequence[Record]) -> int:
    """How many restarts, from the first on, these arms of a cell were interleaved in: in those, all arms have the same reading
    of the machine. A run that was killed between two records leaves one arm with a restart that the others lack, or with a
    different one.

    `ended` are arms that get no more restarts. The result is 0 where one of them has a restart that the others would measure
    again.
    """
    fewest = min(record.restarts for record in sound)
    every = [*sound, *ended]
    if any(record.paired is False for record in every):
        return fewest
    # Arms of one visit may use GPUs of their own; all else is one reading.
    readings = [
        [{name: value for name, value in one.items() if name not in ("gpu", "gpu_load")} for one in json.loads(read)]
        for read in (record.conditions for record in every)
    ]

    def alike(restart: int) -> bool:
        there = [one for one, record in zip(readings, every, strict=True) if restart < record.restarts]
        return len({to_json(one[restart]) if restart < len(one) else "" for one in there}) == 1

    together = next((restart for restart in range(fewest) if not alike(restart)), fewest)
    return 0 if any(record.restarts > together for record in ended) else together


def _outcome(record: Record | None) -> str:
    """How a job ended: its status, or what ended it after its first restart."""
    if record is None:
        return "interrupted"
    early = [warning.removeprefix(ENDED_EARLY) for warning in record.warnings if warning.startswith(ENDED_EARLY)]
    return early[0].split(" ")[0] if early and record.status in MEASURED else record.status


def _check(protocol: Protocol, staying: Sequence[Record]) -> None:
    """Raises ConfigError where the records that stay may not be mixed with what is measured now."""
    here = machine.describe()
    identity = machine.identity(here)
    for record in staying:
        if record.schema_version != SCHEMA_VERSION:
            raise ConfigError(
                f"The records of this sweep have schema {record.schema_version} (mtbench {record.mtbench_version}), but "
                f"this mtbench writes schema {SCHEMA_VERSION}: measure into another folder."
            )
        if record.machine_id != identity:
            chip = json.loads(record.machine).get("chip") or "another processor"
            raise ConfigError(
                f"The records of this sweep were measured on another machine ({chip}; here is "
                f"{here.get('chip') or 'an unknown processor'}): go on there, or measure into another folder."
            )
        before = {**asdict(protocol), **json.loads(record.protocol)}
        if said := _differing(before, asdict(protocol)):
            raise ConfigError(
                f"The records of {record.arm} were measured with another {said}: measure into another folder."
            )


def _differing(before: Mapping[str, object], now: Mapping[str, object]) -> str | None:
    """The first setting of the measurement in which two protocols differ, with both values."""
    for name, value in now.items():
        if name not in OF_THE_WHOLE and before[name] != value:
            return f"protocol.{name} ({before[name]} there, {value} here)"
    return None
