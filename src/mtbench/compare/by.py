"""`mtbench compare FOLDER --by AXIS`: records that differ in one axis, such as dtype, set against each other afterwards.

The first value that was measured is the baseline. Records match that are alike in everything but the axis. Where a sweep
interleaved them, because the axis was among its contenders, they get a verdict; else the ratio is descriptive.
"""

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from mtbench.compare.row import Row, compared
from mtbench.compare.sides import Measured
from mtbench.errors import ConfigError, unknown
from mtbench.results import cells
from mtbench.results.axes import PARAMS
from mtbench.results.cells import Held
from mtbench.results.record import Record

_OF_A_FRAMEWORK = ("framework", "mode", "setup", "library_version", "requirement", "python_version")
"""Columns that are bound to differ where frameworks do."""

_ALIKE = (
    "operator", "model", "dtype", "batch_size", "seq_len", "kv_len", "variant", "device", "matmul_precision", "machine_id",
    *_OF_A_FRAMEWORK,
)  # fmt: skip


def rows(measured: Sequence[Measured], axis: str, threshold: float | None) -> tuple[list[Row], list[str]]:
    """The rows of the table, each other value of the axis against the first wherever the rest is alike; and the values.

    Raises ConfigError where there is no such axis, or where it has one value only.
    """
    known = axes(one.record for one in measured)
    if axis not in known:
        raise ConfigError(unknown("axis", axis, known))
    in_order = sorted(measured, key=lambda one: (one.record.started_at is None, one.record.started_at, one.path))
    values = list(
        dict.fromkeys(text for one in in_order if (text := cells.told_value(vars(one.record), axis)) is not None)
    )
    if len(values) < 2:
        raise ConfigError(f"All records have the same {axis}, {values[0] if values else 'none'}; nothing to compare.")
    alike: dict[Hashable, dict[str, Measured]] = {}
    for one in in_order:  # the newest of each value stays
        value = cells.told_value(vars(one.record), axis)
        if value is not None:
            alike.setdefault(_rest(one.record, axis), {})[value] = one
    found = [
        _row(by_value[values[0]], by_value[value], axis, (values[0], value))
        for by_value in alike.values()
        for value in values[1:]
        if values[0] in by_value and value in by_value
    ]
    if not found:
        raise ConfigError(f"No two records differ in {axis} alone.")
    return compared(found, threshold), values


def axes(records: Iterable[Record]) -> list[str]:
    """The axes along which these records can be compared."""
    params = {name for text in {record.params for record in records} for name in json.loads(text)}
    return [
        "framework",
        *(name for name in cells.COLUMNS if name != "operator"),
        *(f"{PARAMS}{n}" for n in sorted(params)),
    ]


def _row(a: Measured, b: Measured, axis: str, values: tuple[str, str]) -> Row:
    arm = _arm(a.record, axis)
    names = (values[0], values[1]) if axis == "framework" else (f"{arm}: {values[0]}", values[1])
    return Row(a, b, _held(a.record, axis), names)


def _arm(record: Record, axis: str) -> str:
    """The name of the arm without the axis: the framework, and each setting that is not the default."""
    told = [str(cells.value(vars(record), "framework"))]
    told += [] if record.variant == "native" or axis == "operator.variant" else [record.variant]
    told += [] if record.matmul_precision == "highest" or axis == "matmul_precision" else [record.matmul_precision]
    told += [] if axis == "device" else [record.device]
    return " ".join(told)


def _held(record: Record, axis: str) -> Held:
    """The cell of a row: everything but the axis."""
    held = cells.held([vars(replace(record, contenders=[]))])
    name = axis.removeprefix("shape.")
    free: dict[str, Any] = {name: None} if hasattr(held, name) else {}
    return replace(held, params=cells.params_without(vars(record), axis), **free)


def _rest(record: Record, axis: str) -> Hashable:
    """All values that must be equal in both records."""
    free = _OF_A_FRAMEWORK if axis == "framework" else (cells.COLUMNS.get(axis),)
    return (cells.params_without(vars(record), axis), *(getattr(record, name) for name in _ALIKE if name not in free))
