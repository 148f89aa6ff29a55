"""How contenders compare: the ratio of their times in every cell, by `mtbench.results.comparison`, as one table."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report.tables import CELL, MACHINE, SECTION, Metric, Tables
from mtbench.results import certainty, comparison
from mtbench.results.comparison import Timing
from mtbench.results.verdicts import Comparison

NUMBERS: dict[str, Any] = {
    "ratio": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "confidence": pl.Float64,
    "verdict": pl.String,
    "p_value": pl.Float64,
    "pairs": pl.Int64,
    "smallest_detectable": pl.Float64,
    "interleaved": pl.Boolean,
    "reason": pl.String,
    "doubt": pl.String,
}
"""Fields of a comparison; low and high are null where nothing bounds it. `doubt` says why an inconclusive one is that."""

SCHEMA: dict[str, Any] = {
    MACHINE: pl.String,
    "page": pl.String,
    "model": pl.String,
    "held_params": pl.String,
    "kv_len": pl.Int64,
    "held_dtype": pl.String,
    "batch_size": pl.Int64,
    "seq_len": pl.Int64,
    "a": pl.String,
    "b": pl.String,
} | NUMBERS

Row = dict[str, Any]


def ratios(tables: Tables, metric: Metric, labels: Sequence[str]) -> pl.DataFrame:
    """T_b / T_a for every ordered pair of contenders and every cell that both have, with SCHEMA's columns.

    Of several records of a contender in a cell, those of the newest sweep that measured both are compared. Verdicts hold
    after the correction over the cells of one pair in one section, which is the table that a heatmap shows.
    """
    timings = tables.timings[metric.name]
    identities: list[tuple[Any, ...]] = []
    pairs: list[tuple[object, Sequence[Timing], Sequence[Timing]]] = []
    for cell in _cells(tables.records.filter(pl.col(metric.ns).is_not_null(), pl.col("status") == "ok")):
        by_label: dict[str, list[Timing]] = {}
        for row in cell:
            by_label.setdefault(row["label"], []).append(timings[row["row"]])
        charted = {row["label"] for row in cell if row["charted"]}
        place, section = (tuple(cell[0][name] for name in names) for names in (CELL, SECTION))
        for a, b in combinations([label for label in labels if label in charted], 2):
            identities.append((*place, a, b))
            pairs.append(((*section, a, b), by_label[a], by_label[b]))
    found = comparison.newest(pairs)
    rows = [(*identity, *_numbers(one)) for identity, one in zip(identities, found, strict=True)]
    rows += [
        (*identity[:-2], identity[-1], identity[-2], *_numbers(one.swapped()))
        for identity, one in zip(identities, found, strict=True)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _cells(records: pl.DataFrame) -> Iterable[list[Row]]:
    """The rows of each cell, oldest first, without what a comparison has no use for."""
    ordered = records.sort(*CELL, "finished_at", "row", nulls_last=False).select(*CELL, "label", "row", "charted")
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in ordered.iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in CELL), []).append(row)
    return found.values()


def _numbers(one: Comparison) -> tuple[Any, ...]:
    low, high = one.bounds or (None, None)
    return (
        one.ratio, low, high, one.confidence, one.verdict, one.p_value, one.pairs, one.smallest_detectable,
        one.interleaved, one.reason, certainty.why_inconclusive(one),
    )  # fmt: skip
