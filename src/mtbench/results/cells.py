"""What is held equal and what competes: how records are sorted into cells, and what cells and contenders are called.

A record says which axes competed in its sweep, in `contenders`. What is on none of them is held equal within a cell.
Functions take the columns of records, as `vars(record)` or the rows of a frame give them.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtbench.plain import to_json
from mtbench.results import format
from mtbench.results.axes import CONTENDERS, PARAMS
from mtbench.results.format import natural
from mtbench.results.record import Record

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """What is held equal in a cell; what competes is None, or left out of `params` (JSON with sorted keys).

    Operators that compete are all named in `operator`. `settings` (JSON likewise) has what usually tells arms apart, such as
    the device, and does not compete here.
    """

    operator: str
    model: str | None
    params: str
    kv_len: int | None
    dtype: str | None
    batch_size: int | None
    seq_len: int | None
    settings: str = "{}"

    @property
    def section(self) -> tuple[str, str | None, str, str, int | None]:
        """What may not be mixed within one chart or one family of comparisons."""
        return self.operator, self.model, self.params, self.settings, self.kv_len

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands in a table: a sorting key."""
        return (
            self.operator, self.model or "", natural(self.params), self.dtype or "",
            self.batch_size or 0, self.seq_len or 0, self.kv_len or 0, self.settings,
        )  # fmt: skip

    @property
    def fixed(self) -> str:
        """Parameters and settings together, as JSON."""
        return to_json(json.loads(self.params) | json.loads(self.settings))

    def parameters(self) -> dict[str, Any]:
        """Parameters and settings as people read them."""
        return named(json.loads(self.fixed), self.model)

    def title(self, parameters: Sequence[str] = ()) -> str:
        """The cell in a line, with the parameters that tell it from others."""
        params = self.parameters()
        sizes = {"batch": self.batch_size, "seq": self.seq_len, "kv": self.kv_len}
        told = [self.operator, self.model, self.dtype]
        told += [f"{name} {size}" for name, size in sizes.items() if size is not None]
        told += [f"{name}={format.value(params[name])}" for name in parameters if name in params and name != "model"]
        return " ".join(one for one in told if one is not None)


def contended(row: Row) -> tuple[str, ...]:
    """The axes that compete besides those that tell arms apart in every sweep: dtype, operator, operator.params.NAME."""
    return tuple(axis for axis in row["contenders"] or () if axis not in CONTENDERS)


def as_usual(row: Row) -> bool:
    """Whether the axes that compete are the usual ones, of a sweep that names none."""
    return set(row["contenders"] or CONTENDERS) == set(CONTENDERS)


def held(cell: Sequence[Row]) -> Held:
    """What is held equal among the records of one cell."""
    first = cell[0]
    if as_usual(first):
        operator, params, dtype, settings = first["operator"], first["params"], first["dtype"], "{}"
    else:
        operator = ", ".join(dict.fromkeys(row["operator"] for row in cell))
        params, settings = to_json(_common([_held_parameters(row) for row in cell])), to_json(_held_settings(cell))
        dtype = None if "dtype" in first["contenders"] else first["dtype"]
    shape = (first["batch_size"], first["seq_len"])
    return Held(operator, first["model"], params, first["kv_len"], dtype, *shape, settings)


def _held_parameters(row: Row) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(row["params"])
    return {name: found for name, found in params.items() if f"{PARAMS}{name}" not in row["contenders"]}


def _held_settings(cell: Sequence[Row]) -> dict[str, Any]:
    """What usually tells arms apart and does not compete here. Only a job that ran knows which device it got."""
    row = next((row for row in cell if row["status"] == "ok"), cell[0])
    return {axis: value(row, axis) for axis in CONTENDERS if axis not in row["contenders"]}


def _common(sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that all have in common: competing operators have some of their own, such as the bits of a weight."""
    first, *others = sets
    return {name: found for name, found in first.items() if all(other.get(name) == found for other in others)}


def by_cell(records: Iterable[Record]) -> list[tuple[Held, list[Record]]]:
    """Records by cell, cells sorted by operator, parameters, dtype and shape; arms stay in the order measured."""
    cells: dict[str, list[Record]] = {}
    for record in records:
        cells.setdefault(record.cell_id, []).append(record)
    found = [(held([vars(record) for record in cell]), cell) for cell in cells.values()]
    return sorted(found, key=lambda cell: (cell[0].place, cell[1][0].cell_id))


def family(cell: Held, a: str, b: str) -> Hashable:
    """The comparisons that are corrected together: of one pair of contenders, over the cells of a section."""
    return (*cell.section, a, b)


def differing(cells: Iterable[Held], operator: str) -> list[str]:
    """Parameters in which an operator's cells differ: what a title has to say."""
    return names_that_differ([cell.parameters() for cell in cells if cell.operator == operator])


def names_that_differ(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names under which some of these sets have another value, or none."""
    seen = {to_json(params): params for params in sets}.values()
    names = {name for params in seen for name in params}
    return sorted(name for name in names if len({to_json(params.get(name)) for params in seen}) > 1)


def named(params: dict[str, Any], model: str | None) -> dict[str, Any]:
    """Parameters as people read them: the model that they are from comes first, and stands for its whole configuration."""
    return params if model is None else {"model": model} | {n: value for n, value in params.items() if n != "config"}


def value(row: Row, axis: str) -> Any:
    """What a record has on an axis, by the name of its setting; None where it has none. Raises KeyError where there is no such
    axis."""
    if axis == "framework":
        framework = row["framework"] if row["mode"] == "eager" else f"{row['framework']}_{row['mode']}"
        return " ".join([framework, *([row["setup"]] if row["setup"] else [])])
    if axis.startswith(PARAMS):
        return json.loads(row["params"]).get(axis.removeprefix(PARAMS))
    return row[COLUMNS[axis]]


def told_value(row: Row, axis: str) -> str | None:
    """The same as text."""
    found = value(row, axis)
    return None if found is None else format.value(found)


def params_without(row: Row, axis: str) -> str:
    """A record's parameters without the one that is this axis, as JSON."""
    return to_json({name: one for name, one in json.loads(row["params"]).items() if f"{PARAMS}{name}" != axis})


COLUMNS = {
    "operator": "operator",
    "operator.variant": "variant",
    "device": "device",
    "matmul_precision": "matmul_precision",
    "dtype": "dtype",
    "model": "model",
    "shape.batch_size": "batch_size",
    "shape.seq_len": "seq_len",
    "shape.kv_len": "kv_len",
}
"""The columns of axes besides framework and parameters."""


def contender(row: Row) -> str:
    """What a contender is on the axes that `contended` names: `bfloat16`, `bits 4`; nothing where none competes."""
    told = [(axis, text) for axis in contended(row) if (text := told_value(row, axis)) is not None]
    return " · ".join(f"{axis.removeprefix(PARAMS)} {text}" if axis.startswith(PARAMS) else text for axis, text in told)
