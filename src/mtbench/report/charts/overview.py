"""Every contender against one, by operator: the geometric mean of the ratio, and the number of its cells."""

import polars as pl

from mtbench.report.charts import _heat
from mtbench.report.charts._spec import Spec, channel, flat, with_rows
from mtbench.report.views import OverviewView
from mtbench.results import format
from mtbench.results.verdicts import VERDICTS

OF = OverviewView
ORDER = 1

OPERATORS_SIDE_BY_SIDE = 8
"""As many as a page is wide; more stand below each other."""


def draw(view: OverviewView) -> tuple[str, Spec] | None:
    cells = rows(view)
    if not view.pair or cells.is_empty():
        return None
    contenders = cells["b"].unique(maintain_order=True).to_list()
    if cells["operator"].n_unique() > OPERATORS_SIDE_BY_SIDE:  # a page is longer than it is wide
        lines = max(len(str(label).split(" ")) for label in contenders)
        split = flat(labelAngle=0, orient="top", labelPadding=12 * lines - 8, labelExpr="split(datum.label, ' ')")
        x = channel("b", "nominal", title=None, sort=contenders, axis=split)
        y = channel("operator", "nominal", title=None, axis=flat(labelLimit=0))
    else:
        x = channel("operator", "nominal", title=None, axis=flat(labelAngle=0, labelExpr="split(datum.label, '_')"))
        y = channel("b", "nominal", title=None, sort=contenders, axis=flat(labelLimit=0))
    text = f"{view.metric.title}, geometric mean over the cells that both have. Below 1 is faster. {view.where}"
    spec = {
        "title": {"text": {"expr": "'Time relative to ' + arm_a"}, "subtitle": text},
        "data": {"name": "cells"},
        "params": _heat.arms(view.pair),
        "width": {"step": 112},
        "height": {"step": 42},
        "layer": _heat.layers(cells, "datum.a === arm_a", "note", x=x, y=y),
    }
    return f"overview-{view.metric.name}", with_rows(spec, "cells", cells)


def rows(view: OverviewView) -> pl.DataFrame:
    """One row per operator and ordered pair of contenders: `mtbench.report.ratios.summary` with its words."""
    found = [
        {
            "ratio_text": format.ratio(row["ratio"]),
            "note": f"{row['cells']} {format.plural(row['cells'], 'cell')}",
            "verdicts": ", ".join(f"{row[name]} {name}" for name in VERDICTS if row[name]),
        }
        for row in view.summary.iter_rows(named=True)
    ]
    words = pl.DataFrame(found, schema=dict.fromkeys(("ratio_text", "note", "verdicts"), pl.String))
    kept = view.summary.select(pl.col("page").alias("operator"), "a", "b", "ratio")
    return pl.concat([kept, words], how="horizontal").sort(pl.col("b").cast(pl.Enum(list(view.styles))), "operator")
