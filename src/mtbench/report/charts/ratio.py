"""The ratio of two contenders' times over shape and dtype. Which two is set by the signals `arm_a` and `arm_b`."""

import math
from typing import Any

import polars as pl

from mtbench.report.charts import _heat
from mtbench.report.charts._spec import PAGE_WIDTH, Spec, channel, fit, flat, with_rows
from mtbench.report.tables import ALL_DTYPES, shape
from mtbench.report.views import SectionView
from mtbench.results import format

OF = SectionView
ORDER = 2

WORDS = ("shape", "ratio_text", "told", "bounds", "evidence")

Row = dict[str, Any]


def draw(view: SectionView) -> tuple[str, Spec] | None:
    cells = rows(view.ratios)
    if not view.pair or cells.is_empty():
        return None
    lengths, batches = sorted(cells["seq_len"].unique()), sorted(cells["batch_size"].unique())
    dtypes = cells["dtype"].n_unique()
    step = min(76, (PAGE_WIDTH - 240) // (len(lengths) * dtypes))
    beside, step = (dtypes, step) if step >= 54 else (1, 66)  # all dtypes in one row, or else each in its own
    axis = flat(labelAngle=0)
    layers = _heat.layers(
        cells,
        "datum.a === arm_a && datum.b === arm_b",
        "verdict",
        x=channel("seq_len", "ordinal", title="sequence length", scale={"domain": lengths}, axis=axis),
        y=channel("batch_size", "ordinal", title="batch size", scale={"domain": batches}, axis=axis),
    )
    subtitle = f"{view.title}, {view.metric.title.lower()}. Below 1 the first is faster. Pale: not proved. {view.where}"
    spec = {
        "title": {"text": {"expr": "'Time of ' + arm_b + ' ÷ time of ' + arm_a"}, "subtitle": subtitle},
        "data": {"name": "cells"},
        "params": _heat.arms(view.pair),
        "facet": channel("dtype", "nominal", title=None),
        "columns": beside,
        "spacing": 18,
        "usermeta": fit(56, 76, 70, dtypes, len(lengths)) | {"caption": "Time of {arm_b} ÷ time of {arm_a}"},
        "spec": {"width": {"step": step}, "height": {"step": 42}, "layer": layers},
    }
    return f"{view.name}-ratio", with_rows(spec, "cells", cells)


def rows(ratios: pl.DataFrame) -> pl.DataFrame:
    """One row per ordered pair of contenders and cell: `mtbench.report.ratios.ratios` with its words."""
    found = [_words(row) for row in ratios.iter_rows(named=True)]
    words = pl.DataFrame(found, schema=dict.fromkeys(WORDS, pl.String))
    dtype = pl.col("held_dtype").fill_null(ALL_DTYPES).alias("dtype")
    kept = ratios.select("a", "b", dtype, "batch_size", "seq_len", "ratio", "verdict", "doubt")
    return pl.concat([kept, words], how="horizontal")


def _words(row: Row) -> Row:
    bounds = format.NOTHING
    if row["low"] is not None:
        confidence = format.percent(row["confidence"], 3)
        bounds = f"ratio {format.ratio(row['ratio'], row['low'], row['high'])} at {confidence} confidence"
    evidence = f"not interleaved: measured {row['reason']}"
    if row["interleaved"]:
        evidence = f"{row['pairs']} paired blocks, Holm-adjusted p = {format.p_value(row['p_value'])}"
        detectable = row["smallest_detectable"]
        if row["verdict"] == "inconclusive" and math.isfinite(detectable):
            evidence += f"; would show a difference of {format.percent(detectable)}"
        evidence = "; ".join(filter(None, [row["doubt"], evidence]))
    return {
        "shape": shape(row),
        "ratio_text": format.ratio(row["ratio"]),
        "told": _told(row),
        "bounds": bounds,
        "evidence": evidence,
    }


def _told(row: Row) -> str:
    """`6.8x slower`, or `1.2x faster, inconclusive (could be either)`: what an entry of the matrix says."""
    if row["verdict"] == "equivalent":
        return "equivalent"
    factor = format.slower_or_faster(row["ratio"])
    doubt = f" ({row['doubt']})" if row["doubt"] else ""
    return factor if row["verdict"] in ("faster", "slower") else f"{factor}, {row['verdict']}{doubt}"
