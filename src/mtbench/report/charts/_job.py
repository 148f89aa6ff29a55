"""The charts of one job's page: its samples in order, and the machine meanwhile. The page fills in the rows."""

from typing import Any

from mtbench.report.charts._spec import SCHEMA, Spec, channel, fit
from mtbench.report.charts.time import TIME_LABEL

WIDTH = 960


def samples(colour: str = "#0e6cb0") -> Spec:
    """Blocks in the order of measurement, a panel for each metric, restarts told apart by shade and by a rule between them.

    Rows of `blocks`: metric, restart (from 1), number (in the order of measurement) and ns.
    """
    x = channel(
        "number", "quantitative", title="block, in the order of measurement", axis={"tickMinStep": 1, "format": "d"}
    )
    y = channel("ns", "quantitative", title="time per call", scale={"zero": False}, axis={"labelExpr": TIME_LABEL})
    words = [
        channel("metric", "nominal"),
        channel("restart", "ordinal"),
        channel("round", "ordinal"),
        channel("text", "nominal", title="time"),
    ]
    starts = [{"filter": "datum.first && datum.restart > 1"}]
    layer: list[Spec] = [
        {
            "transform": starts,
            "mark": {"type": "rule", "strokeDash": [4, 3], "opacity": 0.7},
            "encoding": {"x": channel("start", "quantitative")},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.5, "color": colour},
            "encoding": {"x": x, "y": y, "detail": channel("restart", "nominal")},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 46, "opacity": 1, "color": colour},
            "encoding": {"x": x, "y": y, "tooltip": words},
        },
        {
            "transform": [{"filter": "datum.first"}],
            "mark": {"type": "text", "align": "left", "baseline": "bottom", "dx": 3, "fontSize": 11, "y": -2},
            "encoding": {"x": channel("start", "quantitative"), "text": channel("name", "nominal")},
        },
    ]
    return _faceted("blocks", "metric", {"width": WIDTH, "height": 150, "layer": layer})


def machine() -> Spec:
    """What the machine reported while the job's cell was measured, a panel for each unit.

    Rows of `readings`: at (ISO 8601), panel, series and value.
    """
    encoding = {
        "x": channel("at", "temporal", title="time"),
        "y": channel("value", "quantitative", title=None, scale={"zero": False}),
        "color": channel("series", "nominal", title=None, scale={"range": ["#0e6cb0", "#ba3f0a", "#15774e"]}),
        "tooltip": [
            channel("at", "temporal", format="%Y-%m-%d %H:%M:%S"),
            channel("series", "nominal"),
            channel("value", "quantitative", format=".4~r"),
        ],
    }
    mark = {"type": "line", "point": True, "strokeWidth": 1.5}
    return _faceted("readings", "panel", {"width": WIDTH, "height": 90, "mark": mark, "encoding": encoding})


def _faceted(rows: str, by: str, spec: dict[str, Any]) -> Spec:
    return {
        "$schema": SCHEMA,
        "data": {"name": rows},
        "datasets": {rows: []},
        "facet": channel(by, "nominal", title=None),
        "columns": 1,
        "resolve": {"scale": {"y": "independent"}},
        "spec": spec,
        "usermeta": fit(200, WIDTH, 110),
    }
