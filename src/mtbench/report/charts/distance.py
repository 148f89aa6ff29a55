"""The part of the limit that each contender reaches in each operator, as dots on a logarithmic axis, nearest operator first."""

import math

from mtbench.report.charts._spec import (
    PAGE_WIDTH,
    Spec,
    by_contender,
    channel,
    fit,
    flat,
    legend,
    logarithmic,
    narrow_legend,
    present,
    tooltip,
    with_rows,
)
from mtbench.report.views import LimitsView

OF = LimitsView
ORDER = 2

TOOLTIP = {"operator": "operator", "label": "arm", "text": "median", "range": "of all cells", "cells": "cells"}
STEP = 19  # pixels for an operator


def draw(view: LimitsView) -> tuple[str, Spec] | None:
    bars = view.ground.bars
    if bars.is_empty():
        return None
    styles = present(view.styles, bars)
    order = bars["operator"].unique(maintain_order=True).to_list()
    ends = [10.0 ** math.floor(math.log10(min(bars["low"]) * 0.9)), max(1.0, *bars["high"]) * 1.15]
    decades = [10.0**power for power in range(math.floor(math.log10(ends[0])), 1)]
    title = "part of the limit reached"
    y = channel("operator", "nominal", title=None, sort=order, axis=flat(labelLimit=170, grid=True))
    names = legend(styles, PAGE_WIDTH - 300)
    colour = by_contender(styles, [style.colour for style in styles], names)
    words = {"tooltip": tooltip(bars, TOOLTIP)}

    def along(field: str) -> Spec:
        axis = {"format": "~%", "values": decades, "grid": True}
        return {"x": channel(field, "quantitative", title=title, scale=logarithmic(ends), axis=axis)}

    layer = [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.45},
            "encoding": {"y": y} | along("low") | {"x2": {"field": "high"}} | {"color": colour} | words,
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"y": y}
            | along("fraction")
            | {"color": colour, "shape": by_contender(styles, [style.shape for style in styles], names)}
            | words,
        },
    ]
    heading = f"Distance from the limit, {view.ground.heading}"
    text = (
        "Nearest operator first; 100 % is what the measured roofs allow. A dot is the median over cells, its line spans all of "
        f"them. {view.where}"
    )
    spec = {
        "title": {"text": heading, "subtitle": text},
        "description": f"{heading}. {text}",
        "data": {"name": "bars"},
        "width": PAGE_WIDTH - 300,
        "height": {"step": STEP},
        "layer": layer,
        "usermeta": fit(160, PAGE_WIDTH - 200, 200, **narrow_legend(styles)),
    }
    return f"{view.ground.stem}-distance", with_rows(spec, "bars", bars)
