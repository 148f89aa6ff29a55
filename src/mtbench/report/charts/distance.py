"""The part of the limit that each contender reaches in each operator, nearest operator first."""

import math
from typing import Any

from mtbench.report.charts._spec import (
    PAGE_WIDTH,
    Spec,
    by_contender,
    channel,
    flat,
    legend,
    present,
    tooltip,
    with_rows,
)
from mtbench.report.views import LimitsView

OF = LimitsView
ORDER = 2

TOOLTIP = {"operator": "operator", "label": "arm", "text": "median", "range": "of all cells", "cells": "cells"}


def draw(view: LimitsView) -> tuple[str, Spec] | None:
    bars = view.ground.bars
    styles = present(view.styles, bars)
    labels = [style.label for style in styles]
    most = max(1.0, *bars["high"])
    order = bars["operator"].unique(maintain_order=True).to_list()
    base = {
        "y": channel("operator", "nominal", title=None, sort=order, axis=flat(labelLimit=0)),
        "yOffset": channel("label", "nominal", sort=labels, scale={"domain": labels, "paddingInner": 0.15}),
    }
    title = "part of the limit reached, median over cells; the line spans all cells"

    def along(field: str, **options: Any) -> Spec:
        return {"x": channel(field, "quantitative", title=title, **options)}

    tenths = [tick / 5 for tick in range(math.floor(5 * most) + 1)]
    scale, axis = {"domain": [0, 1.1 * most], "nice": False}, {"format": "~%", "values": tenths, "grid": True}
    colour = by_contender(styles, [style.colour for style in styles], legend(styles, PAGE_WIDTH - 300))
    to = along("fraction", scale=scale, axis=axis)
    layer = [
        {"mark": {"type": "bar"}, "encoding": base | to | {"color": colour, "tooltip": tooltip(bars, TOOLTIP)}},
        {"mark": {"type": "rule", "strokeWidth": 1}, "encoding": base | along("low") | {"x2": {"field": "high"}}},
        {
            "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11},
            "encoding": base | along("high") | {"text": channel("text", "nominal")},
        },
    ]
    heading = f"Distance from the limit, {view.ground.heading}"
    text = f"Median over cells, nearest operator first; 100 % is what the measured roofs allow. {view.where}"
    spec = {
        "title": {"text": heading, "subtitle": text},
        "description": f"{heading}. {text}",
        "data": {"name": "bars"},
        "width": PAGE_WIDTH - 300,
        "height": {"step": 17, "for": "offset"},
        "layer": layer,
    }
    return f"{view.ground.stem}-distance", with_rows(spec, "bars", bars)
