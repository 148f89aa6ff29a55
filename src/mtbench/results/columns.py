"""How each column of the record is shown: its title, unit and meaning, declared with the record.

From here come the table of columns in the documentation and the page that shows everything about a job.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from mtbench.results import format

UNITS: dict[str, Callable[[Any], str]] = {
    "ns": format.duration,
    "bytes": format.size,
    "fraction": format.percent,
    "FLOP": lambda value: format.rate(value, "FLOP"),
    "FLOP/s": lambda value: format.rate(value, "FLOP/s"),
    "bytes/s": lambda value: format.rate(value, "B/s"),
    "tokens/s": format.tokens,
    "joule": lambda value: format.small(value, "J"),
    "watt": lambda value: format.small(value, "W"),
    "error": format.error,
}
"""How a value is written, by the unit of its column."""


@dataclass(frozen=True)
class Column:
    """One column of the record. `unit` is a key of UNITS, `JSON`, or empty."""

    name: str
    type: Any
    group: str
    title: str
    unit: str
    meaning: str

    def shown(self, value: Any) -> str:
        """A value as people read it."""
        if value is None or value == [] or value == "":
            return format.NOTHING
        if self.unit in UNITS and isinstance(value, (int, float)):
            return UNITS[self.unit](value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            return "\n".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)


def column(title: str, meaning: str, unit: str = "", default: Any = MISSING, of: str | None = None) -> Any:
    """A field of the record; without a default it must be given. `of` begins a group of columns."""
    metadata = {"title": title, "meaning": meaning, "unit": unit, "group": of}
    if default is MISSING:
        return field(metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def columns(record: type) -> Iterator[Column]:
    """The columns of a record's class, in order."""
    group = ""
    for one in fields(record):
        group = one.metadata["group"] or group
        told = one.metadata
        yield Column(one.name, one.type, group, told["title"], told["unit"], told["meaning"])


def markdown(record: type) -> str:
    """The columns as the documentation lists them: a table for each group."""
    lines = [
        "# Columns of a record",
        "",
        "Each job writes one Parquet file with one row, `record.parquet`. `null` means not measured. This page is",
        "generated from `src/mtbench/results/record.py`; a test compares the two.",
    ]
    group = None
    for one in columns(record):
        if one.group != group:
            group = one.group
            lines += ["", f"## {group}", "", "| column | type | unit | title | meaning |", "|---|---|---|---|---|"]
        meaning = one.meaning.replace("][", "]\\[")  # two brackets in a row would be a link
        lines.append(f"| `{one.name}` | {type_name(one.type)} | {one.unit} | {one.title} | {meaning} |")
    return "\n".join(lines) + "\n"


def type_name(annotation: Any) -> str:
    """A column's type in a word or two: `float`, `list of text`."""
    text = annotation.__name__ if isinstance(annotation, type) and "[" not in str(annotation) else str(annotation)
    names = {"str": "text", "datetime.datetime": "time", "datetime": "time", "bool": "true or false", "int": "integer"}
    text = text.removesuffix(" | None")
    depth = text.count("[")
    inner = text.replace("list[", "").rstrip("]")
    return "list of " * depth + names.get(inner, inner)
