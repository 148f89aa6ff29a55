"""The matrix of verdicts: every contender in every cell of a section, its time and how that compares with one of them.

Below it stands why jobs have no result. Both are HTML, for readers without JavaScript too; with it, another baseline may be
chosen, and the words of each cell come from the rows of the ratio's chart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mtbench.report.tables import ALL_DTYPES, SPEEDS, Metric
from mtbench.report.views import SectionView
from mtbench.results import format

Row = dict[str, Any]


USED = ("row", "dtype", "status", "reason", "charted", "hollow", "finished_at", *SPEEDS, "confidence")
"""The columns of a record, beside those of its cell, that an entry tells."""

COMPARED = ("dtype", "batch_size", "seq_len", "b", "verdict", "told", "bounds", "evidence")
"""Those of its comparison with the baseline."""


@dataclass(frozen=True)
class Entry:
    """One contender in one cell: a time with its interval, or a status, or neither where it was not asked for. `told`,
    `verdict` and `words` compare it with the baseline; None where that has no time, or is it."""

    label: str
    row: int | None = None
    time: str = ""
    interval: str = ""
    fastest: bool = False
    status: str = ""
    told: str | None = None
    verdict: str | None = None
    words: str | None = None


@dataclass(frozen=True)
class Line:
    """One cell of a section, with an entry for each label."""

    dtype: str
    batch_size: int
    seq_len: int
    entries: list[Entry]


@dataclass(frozen=True)
class Matrix:
    """A section in one metric. `chart` names the chart whose rows have the ratios of all pairs."""

    metric: Metric
    chart: str
    baseline: str | None
    labels: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Reason:
    """Why some jobs have no result: their status and reason, the contenders, and the cells in words."""

    status: str
    reason: str
    labels: list[str]
    cells: list[str]


def matrix(view: SectionView, newest: Sequence[Row]) -> Matrix | None:
    """The matrix of a section, whose records that count are `newest`; None where no contender has a time in this metric."""
    timed = {row["label"] for row in newest if row["charted"] and row[view.metric.ns] is not None}
    if not timed:
        return None
    labels = [label for label in view.styles if label in timed]
    labels += sorted({row["label"] for row in newest} - timed - {row["label"] for row in newest if row["hollow"]})
    baseline = view.pair[0] if view.pair else None
    others = view.ratios.lazy().filter(a=pl.lit(baseline, dtype=pl.String)).select(COMPARED).collect()
    compared = {_place(row): row for row in others.iter_rows(named=True)}
    cells: dict[tuple[str, int, int], dict[str, Row]] = {}
    for row in newest:
        cell = (row["held_dtype"] or ALL_DTYPES, row["batch_size"], row["seq_len"])
        cells.setdefault(cell, {})[row["label"]] = row
    lines = []
    for (dtype, batch_size, seq_len), found in sorted(cells.items()):
        times = [row[view.metric.ns] for row in found.values() if row["charted"] and row[view.metric.ns] is not None]
        best = min(times, default=None)
        entries = [
            _entry(view, label, found.get(label), compared.get((dtype, batch_size, seq_len, label)), best)
            for label in labels
        ]
        if any(entry.row is not None for entry in entries):  # what others published alone is in the chart
            lines.append(Line(dtype, batch_size, seq_len, entries))
    return Matrix(view.metric, f"{view.name}-ratio", baseline, labels, lines)


def reasons(newest: Sequence[Row]) -> list[Reason]:
    """Why jobs of a section have no result, those that concern most jobs first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in (row for row in newest if row["status"] not in ("ok", "unverified")):
        found.setdefault((row["status"], row["reason"] or ""), []).append(row)
    return [
        Reason(status, reason, list(dict.fromkeys(row["label"] for row in own)), [_shape(row) for row in own])
        for (status, reason), own in sorted(found.items(), key=lambda each: -len(each[1]))
    ]


def newest(records: pl.DataFrame) -> list[Row]:
    """Of each contender in each cell of a section the record that counts, else the newest."""
    place = ["held_dtype", "batch_size", "seq_len", "label"]
    counts = pl.col("charted") | pl.col("hollow")
    ordered = records.lazy().select(*place, *USED).sort(counts, "finished_at", "row", nulls_last=False)
    return ordered.unique(place, keep="last", maintain_order=True).collect().to_dicts()


def _entry(view: SectionView, label: str, row: Row | None, compared: Row | None, best: float | None) -> Entry:
    if row is None:
        return Entry(label)
    metric = view.metric
    ns = row[metric.ns] if row["charted"] else None
    if ns is None:
        return Entry(label, row["row"], status=row["status"])
    interval = format.interval(ns, row[metric.low_ns], row[metric.high_ns], row["confidence"])
    timed = (label, row["row"], format.duration(ns), interval, ns == best)
    if compared is None:
        return Entry(*timed)
    words = f"{compared['bounds']}; {compared['evidence']}"
    return Entry(*timed, told=compared["told"], verdict=compared["verdict"], words=words)


def _place(row: Row) -> tuple[str, int, int, str]:
    return row["dtype"], row["batch_size"], row["seq_len"], row["b"]


def _shape(row: Row) -> str:
    return f"{row['dtype']} batch {row['batch_size']} sequence {row['seq_len']}"
