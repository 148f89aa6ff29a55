"""How contenders compare: the ratio of their times in every cell, with a verdict where they were measured together."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report.tables import CELL, SECTION, Metric, Tables
from mtbench.results import comparison as verdicts
from mtbench.results import stats
from mtbench.results.comparison import Blocks
from mtbench.results.stats import Comparison
from mtbench.results.units import CONFIDENCE

FLIPPED = {"faster": "slower", "slower": "faster"}
DESCRIPTIVE = "no verdict"
"""Two contenders that were not measured together can be set side by side, but not judged."""

SCHEMA: dict[str, Any] = {
    "operator": pl.String,
    "model": pl.String,
    "params": pl.String,
    "kv_len": pl.Int64,
    "dtype": pl.String,
    "batch_size": pl.Int64,
    "seq_len": pl.Int64,
    "a": pl.String,
    "b": pl.String,
    "ratio": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "confidence": pl.Float64,
    "verdict": pl.String,
    "p_value": pl.Float64,
    "pairs": pl.Int64,
    "smallest_detectable": pl.Float64,
}

Row = dict[str, Any]


def ratios(tables: Tables, metric: Metric, labels: Sequence[str]) -> pl.DataFrame:
    """T_b / T_a for every ordered pair of contenders and every cell that both have, with SCHEMA's columns.

    Blocks are paired by restart and round of the newest sweep that measured both in that cell. Verdicts hold after Holm's
    correction over the cells of one pair in one section, which is the table that a heatmap shows.
    """
    blocks = _blocks_by_row(tables.blocks, metric)
    rows = [
        row
        for cell in _cells(tables.records.filter(pl.col(metric.ns).is_not_null(), pl.col("status") == "ok"))
        for row in _cell_ratios(cell, metric, labels, blocks)
    ]
    found = pl.DataFrame(_corrected(rows), schema=SCHEMA)
    return pl.concat([found, _swapped(found)])


def summary(found: pl.DataFrame) -> pl.DataFrame:
    """For every operator and pair: the geometric mean of the ratio over its cells, and how often each verdict fell."""
    verdicts = ("faster", "slower", "equivalent", "inconclusive", DESCRIPTIVE)
    return (
        found.group_by("operator", "a", "b")
        .agg(
            pl.col("ratio").log().mean().exp(),
            pl.len().alias("cells"),
            *((pl.col("verdict") == verdict).sum().alias(verdict) for verdict in verdicts),
        )
        .sort("operator", "a", "b")
    )


def _blocks_by_row(blocks: pl.DataFrame, metric: Metric) -> Mapping[int, Blocks]:
    found: dict[int, dict[tuple[int, int], float]] = {}
    for row, restart, number, ns in (
        blocks.filter(metric=metric.name).select("row", "restart", "round", "ns").iter_rows()
    ):
        found.setdefault(row, {})[restart, number] = ns
    return found


def _cells(records: pl.DataFrame) -> Iterator[list[Row]]:
    wanted = [
        *CELL,
        "label",
        "row",
        "charted",
        "sweep_id",
        "cell_id",
        "machine_id",
        "paired",
        "finished_at",
        "confidence",
    ]
    speeds = [name for name in records.columns if name.startswith(("latency_", "throughput_"))]
    for _, cell in records.select(*wanted, *speeds).group_by(*CELL, maintain_order=True):
        yield cell.sort("finished_at", "row", nulls_last=False).to_dicts()


def _cell_ratios(cell: list[Row], metric: Metric, labels: Sequence[str], blocks: Mapping[int, Blocks]) -> Iterator[Row]:
    charted = {row["label"]: row for row in cell if row["charted"]}
    for a, b in combinations([label for label in labels if label in charted], 2):
        identity = {name: charted[a][name] for name in CELL} | {"a": a, "b": b}
        together = _measured_together(
            [r for r in cell if r["label"] == a], [r for r in cell if r["label"] == b], blocks
        )
        if together is None:
            yield identity | _descriptive(charted[a], charted[b], metric)
        else:
            yield identity | {"comparison": together}


def _measured_together(a: list[Row], b: list[Row], blocks: Mapping[int, Blocks]) -> Comparison | None:
    """The paired comparison in the newest sweep that holds both, or None where no sweep does."""
    for one in reversed(a):
        for other in reversed(b):
            if not one["sweep_id"] or any(one[name] != other[name] for name in ("sweep_id", "cell_id", "machine_id")):
                continue
            if False in (one["paired"], other["paired"]):  # too large for memory together: measured one by one
                continue
            found = verdicts.compare(blocks.get(one["row"], {}), blocks.get(other["row"], {}))
            if found is not None:
                return found
    return None


def _descriptive(a: Row, b: Row, metric: Metric) -> Row:
    nothing: Row = {"p_value": None, "pairs": 0, "smallest_detectable": None, "verdict": DESCRIPTIVE}
    bounds = [row[name] for row in (a, b) for name in (metric.low_ns, metric.high_ns)]
    if None in bounds:
        return nothing | {"ratio": b[metric.ns] / a[metric.ns], "low": None, "high": None, "confidence": None}
    found = stats.descriptive_ratio(*(_interval(row, metric) for row in (a, b)))
    return nothing | {"ratio": found.estimate, "low": found.low, "high": found.high, "confidence": found.confidence}


def _interval(row: Row, metric: Metric) -> stats.Interval:
    return stats.Interval(row[metric.ns], row[metric.low_ns], row[metric.high_ns], row["confidence"] or CONFIDENCE)


def _corrected(rows: list[Row]) -> list[Row]:
    """The rows with their comparisons spelt out, those of each pair and section corrected together."""
    tables: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if "comparison" in row:
            tables.setdefault(tuple(row[name] for name in (*SECTION, "a", "b")), []).append(row)
    for table in tables.values():
        for row, found in zip(table, verdicts.corrected([row.pop("comparison") for row in table]), strict=True):
            row |= {name: getattr(found, name) for name in SCHEMA if name not in row}
    return rows


def _swapped(found: pl.DataFrame) -> pl.DataFrame:
    """The same comparisons seen from the other side: log-ratios change their sign, so nothing need be computed again."""
    return found.with_columns(
        a=pl.col("b"),
        b=pl.col("a"),
        ratio=1 / pl.col("ratio"),
        low=1 / pl.col("high"),
        high=1 / pl.col("low"),
        verdict=pl.col("verdict").replace(FLIPPED),
    )
