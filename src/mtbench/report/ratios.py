"""How contenders compare: the ratio of their times in every cell, by `mtbench.results.comparison`, as a table with words."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from operator import attrgetter
from typing import Any

import polars as pl

from mtbench.report.tables import ALL_DTYPES, CELL, MACHINE, SECTION, Metric, Tables, shape
from mtbench.results import certainty, comparison, format
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

WORDS = ("shape", "ratio_text", "told", "bounds", "evidence")
"""What people read of it: `told` is what an entry of the matrix says."""

SCHEMA: dict[str, Any] = (
    {
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
    }
    | NUMBERS
    | {"dtype": pl.String}
    | dict.fromkeys(WORDS, pl.String)
)


def ratios(tables: Tables, metric: Metric, labels: Sequence[str]) -> pl.DataFrame:
    """T_b / T_a for every ordered pair of contenders and every cell that both have, with SCHEMA's columns.

    Of several records of a contender in a cell, those of the newest sweep that measured both are compared. Verdicts hold
    after the correction over the cells of one pair in one section, which is the table that a heatmap shows.
    """
    timings = tables.timings[metric.name]
    places: list[tuple[Any, ...]] = []
    cell_of: list[int] = []
    names: list[tuple[str, str]] = []
    pairs: list[tuple[object, Sequence[Timing], Sequence[Timing]]] = []
    for place, cell in _cells(tables.records.filter(pl.col(metric.ns).is_not_null(), pl.col("status") == "ok")):
        by_label: dict[str, list[Timing]] = {}
        for label, row, _ in cell:
            by_label.setdefault(label, []).append(timings[row])
        charted = {label for label, _, is_charted in cell if is_charted}
        section = place[: len(SECTION)]
        for a, b in combinations([label for label in labels if label in charted], 2):
            cell_of.append(len(places))
            names.append((a, b))
            pairs.append(((*section, a, b), by_label[a], by_label[b]))
        places.append(place)
    found = comparison.newest(pairs)
    cells = pl.DataFrame(places, schema={name: SCHEMA[name] for name in CELL}, orient="row").with_columns(
        pl.Series("shape", [shape(dict(zip(CELL, place, strict=True))) for place in places], dtype=pl.String),
        dtype=pl.col("held_dtype").fill_null(ALL_DTYPES),
    )
    doubts = [certainty.why_inconclusive(one) for one in found]
    evidence = list(map(_evidence, found, doubts))
    known = {"doubt": doubts, "evidence": evidence}  # the same of B against A as of A against B
    ends = list(zip(*names, strict=True)) or [(), ()]
    swapped = [one.swapped() for one in found]
    compared = [
        _columns(each, doubts) | {"a": a, "b": b} | known for each, a, b in ((found, *ends), (swapped, *reversed(ends)))
    ]
    numbers = {name: kind for name, kind in SCHEMA.items() if name not in cells.columns}
    rows = pl.concat(pl.DataFrame(one, schema_overrides=numbers).select(list(numbers)) for one in compared)
    return pl.concat([cells[cell_of + cell_of], rows], how="horizontal").select(list(SCHEMA))


def _cells(records: pl.DataFrame) -> Iterable[tuple[tuple[Any, ...], list[tuple[str, int, bool]]]]:
    """Each cell, with label, row and whether it is charted of its records, oldest first."""
    ordered = records.sort(*CELL, "finished_at", "row", nulls_last=False).select(*CELL, "label", "row", "charted")
    found: dict[tuple[Any, ...], list[tuple[str, int, bool]]] = {}
    for row in ordered.rows():
        found.setdefault(row[: len(CELL)], []).append(row[len(CELL) :])
    return found.items()


def _columns(found: Sequence[Comparison], doubts: Sequence[str | None]) -> dict[str, Sequence[Any]]:
    """The numbers of comparisons by column, and their words in as far as these depend on the direction."""
    bounds = [one.bounds for one in found]
    fields = [name for name in NUMBERS if name not in ("low", "high", "doubt")]
    numbers = list(zip(*map(attrgetter(*fields), found), strict=True)) or [()] * len(fields)
    return dict(zip(fields, numbers, strict=True)) | {
        "low": [known and known[0] for known in bounds],
        "high": [known and known[1] for known in bounds],
        "ratio_text": [format.ratio(one.ratio) for one in found],
        "told": list(map(_told, found, doubts)),
        "bounds": list(map(_bounds, found, bounds)),
    }


def _told(one: Comparison, doubt: str | None) -> str:
    """`6.8x slower`, or `1.2x faster, inconclusive (could be either)`: what an entry of the matrix says."""
    if one.verdict == "equivalent":
        return "equivalent"
    factor = format.slower_or_faster(one.ratio)
    if one.verdict in ("faster", "slower"):
        return factor
    return f"{factor}, {one.verdict}" + (f" ({doubt})" if doubt else "")


def _bounds(one: Comparison, bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return format.NOTHING
    earlier = ", with the spread of earlier sweeps" if one.spread_of_earlier else ""
    return f"ratio {format.ratio(one.ratio, *bounds)} at {format.percent(one.confidence, 3)} confidence{earlier}"


def _evidence(one: Comparison, doubt: str | None) -> str:
    if not one.interleaved:
        return f"not interleaved: measured {one.reason}"
    evidence = f"{one.pairs} paired blocks, Holm-adjusted p = {format.p_value(one.p_value)}"
    if one.verdict == "inconclusive" and math.isfinite(one.smallest_detectable):
        evidence += f"; would show a difference of {format.percent(one.smallest_detectable)}"
    return f"{doubt}; {evidence}" if doubt else evidence
