"""What is measured: an arm (the contender), a cell (what is held equal), and a job, which is one arm in one cell."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtbench import fingerprint
from mtbench.operators.base import Operator, Shape

DIGITS = 10
"""Of the fingerprint of a cell or a job."""


@dataclass(frozen=True)
class Arm:
    """One contender. One worker process serves one arm."""

    framework: str
    mode: str = "eager"  # or compiled
    variant: str = "native"
    device: str = "auto"  # as asked for: auto, cpu, gpu
    matmul_precision: str = "highest"
    framework_file: str | None = None  # a user's own Python file
    python: str | None = None  # another interpreter to run under, an absolute path; None: this one
    requirement: str | None = None  # what to install into an environment of its own (PEP 508); None: run in this one

    @property
    def name(self) -> str:
        """Short and fit for a folder: what differs from the defaults is named, the rest is silent.

        Two arms of a sweep never share a name. A path may name a person, so it is named by its fingerprint.
        """
        parts = [self.framework if self.mode == "eager" else f"{self.framework}_{self.mode}"]
        parts += [] if self.variant == "native" else [self.variant]
        parts += [] if self.device == "auto" else [self.device]
        parts += [] if self.matmul_precision == "highest" else [self.matmul_precision]
        parts += [] if self.python is None else [f"python-{fingerprint.of({'python': self.python}, 6)}"]
        parts += [] if self.requirement is None else [_requirement_name(self.requirement, self.framework)]
        return "-".join(parts)


@dataclass(frozen=True)
class Cell:
    """What is held equal between arms: the operator, its parameters, the dtype and the shape."""

    operator: str
    operator_class: type[Operator]
    params: tuple[tuple[str, Any], ...]  # sorted by name
    dtype: str
    shape: Shape
    operator_file: str | None = None  # a user's own Python file
    model: str | None = None  # the preset that parameters were taken from

    @property
    def problem(self) -> Operator:
        """The operator with its parameters."""
        return self.operator_class(**dict(self.params))

    @property
    def id(self) -> str:
        named = {
            "operator": self.operator,
            "params": dict(self.params),
            "dtype": self.dtype,
            "shape": asdict(self.shape),
        }
        return fingerprint.of(named | ({} if self.model is None else {"model": self.model}), DIGITS)

    def __str__(self) -> str:
        model = "" if self.model is None else f"{self.model} "
        return f"{self.operator} {model}{self.dtype} {self.shape}"


@dataclass(frozen=True)
class Job:
    """One arm in one cell, with the accuracy that its answer must have and the folder for its record."""

    cell: Cell
    arm: Arm
    tolerance: float
    folder: Path

    @property
    def id(self) -> str:
        return fingerprint.of({"cell": self.cell.id, "arm": asdict(self.arm)}, DIGITS)


def relative_folder(cell: Cell, arm: Arm) -> Path:
    """Where a job's record stands in its sweep. The fingerprint tells apart what the readable names leave out."""
    job_id = fingerprint.of({"cell": cell.id, "arm": asdict(arm)}, DIGITS)
    return Path(cell.operator) / arm.name / cell.dtype / f"{cell.shape}-{job_id}"


def _requirement_name(requirement: str, framework: str) -> str:
    """`mlx==0.31.0` is mlx-0.31.0, of which the framework's own name is left out; anything less plain gets a
    fingerprint, since `mlx<1` and `mlx>=1` must not be named alike, and an address may hold a person's name."""
    plain = re.fullmatch(r"([\w.-]+) *== *([\w.+!-]+)", requirement)
    if plain is None:
        package = re.match(r"[\w.-]*", requirement)
        return f"{package.group() if package else ''}-{fingerprint.of({'requirement': requirement}, 6)}"
    package_name, version = plain.groups()
    return version if package_name == framework else f"{package_name}-{version}"
