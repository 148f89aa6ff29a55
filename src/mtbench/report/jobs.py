"""Everything that a record says, one page for all jobs: `job.html#ROW` shows each column with its title, unit and meaning.

Values are in scripts of some jobs each, which the page loads when it is asked for one of them: a page that is opened from a
folder can load a script, but not read a file. What many jobs have in common stands once in each script.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from mtbench.report.tables import METRICS, Tables
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


def write(read: Tables, folder: Path) -> None:
    """Writes the scripts `jobs-N.js` of all jobs into a folder."""
    records = read.records.sort("row")
    shown = list(columns.columns(Record))
    sampled = {column: _blocks(read.blocks, metric) for metric, column in samples.COLUMNS.items()}
    for start in range(0, records.height, IN_A_SCRIPT):
        chunk = records.slice(start, IN_A_SCRIPT)
        told = [f"{operator}, {label}" for operator, label in chunk.select("operator", "label").iter_rows()]
        values = [told, chunk["path"].to_list()]
        for column in shown:
            if column.name in sampled:
                values.append([sampled[column.name].get(row, format.NOTHING) for row in chunk["row"]])
            elif column.name == samples.OF_TOKENS:
                values.append(["in the record alone"] * chunk.height)
            else:
                values.append(_texts(column, chunk[column.name].to_list()))
        texts: dict[str, int] = {}
        rows = [[texts.setdefault(text, len(texts)) for text in row] for row in zip(*values, strict=True)]
        content = json.dumps({"texts": list(texts), "rows": rows}, ensure_ascii=False, separators=(",", ":"))
        (folder / f"jobs-{start // IN_A_SCRIPT}.js").write_text(f"mtbenchJobs = {content};\n", encoding="utf-8")


def _texts(column: Column, values: list[Any]) -> list[str]:
    if column.type in (str, str | None):
        return [value or format.NOTHING for value in values]
    return [column.shown(value) for value in values]


def _blocks(blocks: pl.DataFrame, metric: str) -> dict[int, str]:
    """The blocks of each job, a line for each restart; single calls are in the record alone."""
    assert metric in {one.name for one in METRICS}
    lines: dict[int, dict[int, list[float]]] = {}
    own: Any = blocks.filter(metric=metric).sort("row", "restart", "round")
    for row, restart, ns in own.select("row", "restart", "ns").iter_rows():
        lines.setdefault(row, {}).setdefault(restart, []).append(ns)
    return {
        row: "\n".join(f"restart {number + 1}, blocks: {format.durations(found)}" for number, found in restarts.items())
        for row, restarts in lines.items()
    }
