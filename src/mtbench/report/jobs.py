"""Everything that a record says, one page for all jobs: `job.html#ROW` shows each column with its title, unit and meaning.

Values are in scripts of some jobs each, which the page loads when it is asked for one of them: a page that is opened from a
folder can load a script, but not read a file. What many jobs have in common stands once in each script.
"""

import json
from functools import lru_cache
from pathlib import Path
from types import GenericAlias
from typing import Any

import polars as pl

from mtbench.report.charts import Chart, _job, heat
from mtbench.report.packed import packed_column
from mtbench.report.pages import own_script_json
from mtbench.report.tables import Tables
from mtbench.results import columns, format, samples
from mtbench.results.columns import Column
from mtbench.results.record import Record

IN_A_SCRIPT = 100
"""Jobs, which make some hundred kilobytes."""


def groups() -> dict[str, list[tuple[int, Column]]]:
    """The record's columns with their numbers, in their groups."""
    found: dict[str, list[tuple[int, Column]]] = {}
    for number, column in enumerate(columns.columns(Record)):
        found.setdefault(column.group, []).append((number, column))
    return found


def charts() -> list[Chart]:
    """The charts of a job, which the page fills with its rows."""
    return [
        Chart("job-samples", "samples", None, _job.samples()),
        Chart("job-machine", "machine", None, _job.machine()),
    ]


def write(read: Tables, folder: Path) -> None:
    """Writes the scripts `jobs-N.js` of all jobs into a folder."""
    records = read.records.sort("row")
    rows = records["row"].to_list()
    sampled = {metric: blocks_of(read.blocks.filter(metric=metric)) for metric in METRIC_OF.values()}
    named = [f"{operator}, {label}" for operator, label in records.select("operator", "label").iter_rows()]
    values: list[str | list[str]] = [named, records["path"].to_list()]
    for column in columns.columns(Record):
        values.append(format.NOTHING if column.name in METRIC_OF else _texts(column, records[column.name]))
    readings = records["conditions"].fill_null("[]").to_list()
    for start in range(0, len(rows), IN_A_SCRIPT):
        chunk = slice(start, start + IN_A_SCRIPT)
        content = {
            "rows": len(rows[chunk]),
            "columns": [texts if isinstance(texts, str) else _once(texts[chunk]) for texts in values],
            "samples": [{metric: own[row] for metric, own in sampled.items() if row in own} for row in rows[chunk]],
            "readings": [_readings(conditions) for conditions in readings[chunk]],
        }
        file = folder / f"jobs-{start // IN_A_SCRIPT}.js"
        file.write_text(f"mtbenchJobs = {own_script_json(content)};\n", encoding="utf-8")


def _once(texts: list[str]) -> Any:
    """A column of a script: a text alone where all jobs have it, as most columns have it, else as `packed_column` has it."""
    return texts[0] if texts.count(texts[0]) == len(texts) else packed_column(texts)


METRIC_OF = {column: metric for metric, column in samples.COLUMNS.items()}
"""The metric whose blocks stand for a column of samples; single calls are in the record alone."""


def _texts(column: Column, values: pl.Series) -> str | list[str]:
    """Values as people read them, each of them written once; a text alone where all are alike, as in most columns."""
    listed = isinstance(column.type, GenericAlias)
    found = values.head(1).to_list() if not listed and values.n_unique() == 1 else values.to_list()
    keys = [tuple(value or ()) for value in found] if listed else found
    plain = column.type in (str, str | None) or column.name == samples.OF_TOKENS
    told = {
        key: (value or format.NOTHING) if plain else column.shown(value)
        for key, value in dict(zip(keys, found, strict=True)).items()
    }
    return next(iter(told.values())) if len(told) == 1 else [told[key] for key in keys]


def blocks_of(blocks: pl.DataFrame) -> dict[int, list[list[float]]]:
    """The blocks of each job in one metric, a list for each restart, as short as can be drawn. From them the page makes the
    words of the column, too."""
    short = pl.Series("ns", format.rounded(blocks["ns"].to_numpy(), DIGITS), dtype=pl.Float64)
    found: dict[int, list[list[float]]] = {}
    by_restart = blocks.select("row", "restart", short).group_by("row", "restart", maintain_order=True).agg("ns")
    for row, restart, ns in by_restart.sort("row", "restart").iter_rows():
        own = found.setdefault(row, [])
        own.extend([] for _ in range(restart - len(own)))  # restarts without a block keep their numbers
        own.append(ns)
    return found


DIGITS = 5
"""Of a block's time."""


@lru_cache(maxsize=64)
def _readings(conditions: str) -> list[dict[str, Any]]:
    """What the machine told while a cell was measured: rows of `charts._job.machine`. The arms of a cell have them alike."""
    return [
        {"at": reading["taken_at"], "panel": panel, "series": series, "value": float(f"{value:.5g}")}
        for reading in json.loads(conditions)
        if isinstance(reading.get("taken_at"), str)
        for panel, series, value in heat.values(reading)
    ]
