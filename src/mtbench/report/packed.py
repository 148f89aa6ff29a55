"""Rows as a page loads them: a column at a time, and each text once. The rows of ten thousand jobs are a third as long so."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import polars as pl

Rows = Sequence[dict[str, Any]]

FEWEST = 20
"""Fewer rows stay as they are, which is easier to read."""


def packed(rows: Rows | pl.DataFrame) -> Any:
    """The rows of a dataset, packed for `unpacked` in report.js."""
    if len(rows) < FEWEST:
        return as_rows(rows)
    if isinstance(rows, pl.DataFrame):
        return {name: packed_column(rows[name].to_list()) for name in rows.columns}
    if any(row.keys() != rows[0].keys() for row in rows):
        return rows
    return {name: packed_column([row[name] for row in rows]) for name in rows[0]}


def unpacked(spec: dict[str, Any]) -> dict[str, Any]:
    """A chart's specification with its datasets as they were before `packed`."""
    return spec | {"datasets": {name: _rows(found) for name, found in spec.get("datasets", {}).items()}}


def as_rows(rows: Rows | pl.DataFrame) -> Rows:
    """The rows of a dataset as dictionaries."""
    return rows.to_dicts() if isinstance(rows, pl.DataFrame) else rows


def packed_column(values: list[Any]) -> Any:
    """The values, or where some texts repeat: the texts, and which of them each row has."""
    if set(map(type, values)) != {str}:
        return values
    texts = dict(zip(dict.fromkeys(values), count()))
    return values if len(texts) == len(values) else {"texts": list(texts), "at": list(map(texts.__getitem__, values))}


def unpacked_column(found: Any) -> list[Any]:
    """The values as they were before `packed_column`."""
    return found if isinstance(found, list) else [found["texts"][place] for place in found["at"]]


def _rows(found: Any) -> Rows:
    if isinstance(found, list):
        return found
    columns = map(unpacked_column, found.values())
    return [dict(zip(found, values, strict=True)) for values in zip(*columns, strict=True)]
