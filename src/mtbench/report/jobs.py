"""Everything that a record says, one page for all jobs: `job.html#ROW` shows each column with its title, unit and meaning.

Values are in scripts of some jobs each, which the page loads when it is asked for one of them: a page that is opened from a
folder can load a script, but not read a file. What many jobs have in common stands once in each script.
"""

import json
from collections.abc import Mapping, Sequence
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
    shown = list(columns.columns(Record))
    sampled = _samples(read.blocks)
    told: dict[Column, dict[Any, str]] = {column: {} for column in shown}
    for start in range(0, records.height, IN_A_SCRIPT):
        chunk = records.slice(start, IN_A_SCRIPT)
        own = [sampled.get(row, {}) for row in chunk["row"]]
        named = [f"{operator}, {label}" for operator, label in chunk.select("operator", "label").iter_rows()]
        values = [named, chunk["path"].to_list()]
        for column in shown:
            if column.name in METRIC_OF:
                values.append([_lines(blocks.get(METRIC_OF[column.name], {})) for blocks in own])
            else:
                values.append(_texts(column, chunk[column.name].to_list(), told[column]))
        content = {
            "rows": len(own),
            "columns": [_once(texts) for texts in values],
            "samples": [{metric: _numbers(found) for metric, found in blocks.items()} for blocks in own],
            "readings": [_readings(conditions) for conditions in chunk["conditions"].fill_null("[]")],
        }
        file = folder / f"jobs-{start // IN_A_SCRIPT}.js"
        file.write_text(f"mtbenchJobs = {own_script_json(content)};\n", encoding="utf-8")


def _once(texts: list[str]) -> Any:
    """A column of a script: a text alone where all jobs have it, as most columns have it, else as `packed_column` has it."""
    return texts[0] if texts.count(texts[0]) == len(texts) else packed_column(texts)


METRIC_OF = {column: metric for metric, column in samples.COLUMNS.items()}


def _texts(column: Column, values: list[Any], told: dict[Any, str]) -> list[str]:
    """Values as people read them; `told` remembers those of a column, since many jobs have the same."""
    if column.type in (str, str | None) or column.name == samples.OF_TOKENS:
        return [value or format.NOTHING for value in values]
    if isinstance(column.type, GenericAlias):  # a list
        return [column.shown(value) for value in values]
    for value in set(values) - told.keys():
        told[value] = column.shown(value)
    return [told[value] for value in values]


def _samples(blocks: pl.DataFrame) -> dict[int, dict[str, dict[int, list[float]]]]:
    """The blocks of each job, by metric and restart."""
    grouped = blocks.group_by("row", "metric", "restart", maintain_order=True).agg("ns")
    found: dict[int, dict[str, dict[int, list[float]]]] = {}
    for row, metric, restart, ns in grouped.sort("row", "metric", "restart").iter_rows():
        found.setdefault(row, {}).setdefault(metric, {})[restart] = ns
    return found


def _numbers(restarts: Mapping[int, Sequence[float]]) -> list[list[float]]:
    return [[float(f"{ns:.5g}") for ns in found] for found in restarts.values()]


def _lines(restarts: Mapping[int, Sequence[float]]) -> str:
    """The blocks of a job, a line for each restart; single calls are in the record alone."""
    if not restarts:
        return format.NOTHING
    return "\n".join(f"restart {number + 1}, blocks: {format.durations(found)}" for number, found in restarts.items())


@lru_cache(maxsize=64)
def _readings(conditions: str) -> list[dict[str, Any]]:
    """What the machine told while a cell was measured: rows of `charts._job.machine`. The arms of a cell have them alike."""
    return [
        {"at": reading["taken_at"], "panel": panel, "series": series, "value": float(f"{value:.5g}")}
        for reading in json.loads(conditions)
        if isinstance(reading.get("taken_at"), str)
        for panel, series, value in heat.values(reading)
    ]
