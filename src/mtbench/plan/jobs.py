"""What is measured, as data: tasks, arms, cells, jobs, and the plan of a sweep. All of it goes to JSON and back.

A job names its operator; the class is looked up by the registry where it is needed. So a plan can be kept in a file, sent to
another machine, or made without Hydra.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mtbench import plain
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, unknown
from mtbench.operators.base import Operator, Shape
from mtbench.plain import from_plain, to_json, to_plain
from mtbench.plan.accuracy import Limits
from mtbench.plan.arm import Arm as Arm
from mtbench.plan.arm import library_axes
from mtbench.plan.protocol import Protocol
from mtbench.results.axes import CONTENDERS, PARAMS
from mtbench.results.prior import Earlier
from mtbench.results.version import __version__

DIGITS = 10
"""Of the fingerprint of a cell or a job."""

USUAL = {"operator.variant": "native", "device": "auto", "matmul_precision": "highest"}
"""Settings that go without saying."""

FILE_NAME = "plan.json"


@dataclass(frozen=True)
class Task:
    """What is computed: an operator with its parameters, in a dtype, at a shape."""

    operator: str
    params: tuple[tuple[str, Any], ...]  # sorted by name
    dtype: str
    shape: Shape
    operator_file: str | None = None  # a user's own Python file
    model: str | None = None  # the preset that parameters were taken from

    @property
    def problem(self) -> Operator:
        """The operator with its parameters. Raises ConfigError where there is none of that name."""
        operator: type[Operator] = registry.load("operator", self.operator, self.operator_file)
        return operator(**dict(self.params))

    @property
    def fingerprint(self) -> str:
        identity = {
            "operator": self.operator,
            "params": dict(self.params),
            "dtype": self.dtype,
            "shape": asdict(self.shape),
        }
        return plain.fingerprint(identity | ({} if self.model is None else {"model": self.model}), DIGITS)


@dataclass(frozen=True)
class Cell:
    """What is held equal between arms. What they compete in is None, or left out of `params` and `settings`."""

    operator: str | None
    params: tuple[tuple[str, Any], ...]
    dtype: str | None
    shape: Shape
    model: str | None = None
    settings: tuple[tuple[str, str], ...] = ()  # of the library, where these do not compete
    unusual: tuple[tuple[str, Any], ...] = ()  # those of the parameters that are not the operator's defaults

    @cached_property
    def id(self) -> str:
        identity = {
            "operator": self.operator,
            "params": dict(self.params),
            "dtype": self.dtype,
            "shape": asdict(self.shape),
            "model": self.model,
            **dict(self.settings),
        }
        known = {name: value for name, value in identity.items() if value is not None}
        return plain.fingerprint(known, DIGITS)

    def __str__(self) -> str:
        told = [self.operator, self.model, self.dtype, str(self.shape)]
        told += [value for axis, value in self.settings if value != USUAL.get(axis)]
        told += [f"{name}={value}" for name, value in self.unusual]
        return " ".join(part for part in told if part is not None)


@dataclass(frozen=True)
class Job:
    """One arm in one cell: what is computed and by whom, and the accuracy that the answer must have.

    `tolerance` is the limit of a row's error, `norm_tolerance` that of the whole's, by default the same. `contenders` are
    the axes that compete, and `shared` the parameters that all competing operators have, where operators compete. `folder` is
    where its record goes, below the sweep's.
    """

    task: Task
    arm: Arm
    tolerance: float
    folder: Path = Path()
    contenders: tuple[str, ...] = CONTENDERS
    shared: tuple[str, ...] | None = None
    norm_tolerance: float | None = None

    @property
    def limits(self) -> Limits:
        return Limits(self.tolerance if self.norm_tolerance is None else self.norm_tolerance, self.tolerance)

    @cached_property
    def cell(self) -> Cell:
        task, competing = self.task, set(self.contenders)
        names = [name for name, _ in task.params] if self.shared is None else list(self.shared)
        held = [(name, value) for name, value in task.params if name in names and PARAMS + name not in competing]
        settings = {axis: value for axis, value in library_axes(self.arm).items() if axis not in competing}
        operator = registry.load("operator", task.operator, task.operator_file)
        usual = {each.name: each.default for each in fields(operator)}
        return Cell(
            operator=None if "operator" in competing else task.operator,
            params=tuple(held),
            dtype=None if "dtype" in competing else task.dtype,
            shape=task.shape,
            model=task.model,
            settings=tuple(settings.items()),
            unusual=tuple((name, value) for name, value in held if name != "config" and usual.get(name) != value),
        )

    @cached_property
    def id(self) -> str:
        """The same whatever it competes with."""
        return plain.fingerprint({"cell": self.task.fingerprint, "arm": self.arm.settings}, DIGITS)

    @property
    def usual_folder(self) -> Path:
        """Where a job's record stands in its sweep. The fingerprint tells apart what the readable names leave out."""
        return Path(self.task.operator) / self.arm.name / self.task.dtype / f"{self.task.shape}-{self.id}"


def named(arm: Arm, label: str) -> Arm:
    """The arm under a name of the user's."""
    return replace(arm, label=label)


def job(
    task: Task,
    arm: Arm,
    tolerance: float,
    contenders: Sequence[str] = CONTENDERS,
    folder: Path | None = None,
    norm_tolerance: float | None = None,
) -> Job:
    """One job, whose arm brings what it competes in. Raises ConfigError where an axis cannot compete."""
    check_contenders(contenders)
    values = {"dtype": task.dtype, "operator": task.operator} | {PARAMS + name: value for name, value in task.params}
    contended = tuple((axis, values[axis]) for axis in contenders if axis in values)
    arm = replace(arm, contended=contended)
    made = Job(task, arm, tolerance, Path(), tuple(contenders), norm_tolerance=norm_tolerance)
    return replace(made, folder=made.usual_folder if folder is None else folder)


def check_contenders(contenders: Sequence[str]) -> None:
    """Raises ConfigError where one of these axes cannot compete."""
    known = (*CONTENDERS, "dtype", "operator")
    for axis in contenders:
        if axis.split(".")[0] in ("shape", "protocol", "model"):
            raise ConfigError(
                f"contenders: {axis} cannot compete, because different values are different work; "
                f"what can: {', '.join(known)}, {PARAMS}NAME."
            )
        if axis not in known and not (axis.startswith(PARAMS) and len(axis) > len(PARAMS)):
            raise ConfigError(unknown("axis for contenders", axis, (*known, f"{PARAMS}NAME")))
    if not contenders or len(set(contenders)) < len(contenders):
        raise ConfigError(f"contenders={list(contenders)} must name at least one axis, each once.")


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep and how they are measured. `id` tells one run of mtbench from another; `earlier` is what earlier
    sweeps say of the spread between restarts, on each machine and device, which intervals use."""

    jobs: tuple[Job, ...]
    protocol: Protocol
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    mtbench_version: str = __version__
    earlier: tuple[Earlier, ...] = ()

    @property
    def arms(self) -> list[Arm]:
        return list(dict.fromkeys(each.arm for each in self.jobs))

    def by_cell(self) -> list[list[Job]]:
        """The jobs that are measured against each other, in the order in which they were given."""
        cells: dict[str, list[Job]] = {}
        for each in self.jobs:
            cells.setdefault(each.cell.id, []).append(each)
        return list(cells.values())

    def to_json(self) -> str:
        return json.dumps(to_plain(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Raises ValueError where this is no plan."""
        return from_plain(cls, json.loads(text))


def plan(jobs: Iterable[Job], protocol: Protocol) -> Plan:
    """A plan of jobs, each once. Raises ConfigError where they cannot stand in one sweep."""
    given = tuple({each.id: each for each in jobs}.values())
    if any(each.contenders != given[0].contenders for each in given):
        raise ConfigError("All jobs of a sweep must share one list of contenders; run one sweep per list.")
    competing = given[0].contenders if given else ()
    for axis in competing:
        if axis.startswith(PARAMS) and not any(axis.removeprefix(PARAMS) in dict(each.task.params) for each in given):
            known = sorted({name for each in given for name, _ in each.task.params})
            raise ConfigError(unknown("parameter for contenders", axis.removeprefix(PARAMS), known))
    if "operator" in competing:
        given = _with_shared_parameters(given)
    arms = {each.arm.name for each in given}
    if protocol.baseline is not None and protocol.baseline not in arms:
        raise ConfigError(unknown("arm for protocol.baseline", protocol.baseline, arms))
    made = Plan(given, protocol)
    for cell in made.by_cell():
        if len({each.arm for each in cell}) < len(cell):
            raise ConfigError(
                f"Two jobs of {cell[0].cell} are the same contender; add the axis in which they differ to contenders."
            )
    return made


def _with_shared_parameters(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Jobs whose operators compete: held equal are the parameters that all have; what else varies names the contender."""
    shared = set.intersection(*({name for name, _ in each.task.params} for each in jobs))
    values: dict[tuple[str, str], set[str]] = {}
    for each in jobs:
        for name, value in each.task.params:
            values.setdefault((each.task.operator, name), set()).add(to_json(value))

    def told(one: Job) -> Job:
        own = [
            (PARAMS + name, value)
            for name, value in one.task.params
            if name not in shared and PARAMS + name not in one.contenders and len(values[one.task.operator, name]) > 1
        ]
        made = replace(one, arm=replace(one.arm, contended=(*one.arm.contended, *own)), shared=tuple(sorted(shared)))
        return replace(made, folder=made.usual_folder) if one.folder == one.usual_folder else made

    return tuple(map(told, jobs))
