"""Time over versions and dates: a panel for each cell, the interval as a bar, each step with its ratio."""

from typing import Any

from mtbench.report.charts._spec import PAGE_WIDTH, SCHEMA, Spec, channel, fit, logarithmic, padded, ticks
from mtbench.report.charts.time import TIME_LABEL
from mtbench.report.views import HistoryView

OF = HistoryView
ORDER = 1

LEAST_WIDTH = 210
"""Pixels of a panel that can still be read."""

COLUMNS = 3

HEIGHT = 150

TOOLTIP = {"contender": "contender", "cell": "cell", "when": "measured", "time": "latency", "changed": "changed since"}


def draw(view: HistoryView) -> tuple[str, Spec] | None:
    if not view.points:
        return None
    points = [_row(point) for point in view.points]
    order = sorted(points, key=lambda row: (row["framework"], row["place"]))
    cells = list(dict.fromkeys(row["cell"] for row in points))
    names = dict.fromkeys(row["contender"] for row in points)
    colours = {row["contender"]: row["colour"] for row in points}
    columns = min(COLUMNS, len(cells))
    width = (PAGE_WIDTH - 110) // columns - 60
    times = [row[name] for row in points for name in ("ns", "low_ns", "high_ns") if row[name] is not None]
    x = channel(
        "when",
        "ordinal",
        title=None,
        sort=list(dict.fromkeys(row["when"] for row in order)),
        axis={"labelAngle": -35, "labelLimit": 170},
    )
    y = channel(
        "ns",
        "quantitative",
        title="median latency",
        scale=logarithmic(padded(times, 1.12)),
        axis={"labelExpr": TIME_LABEL, "values": ticks(times), "labelOverlap": "greedy"},
    )
    colour = channel(
        "contender",
        "nominal",
        scale={"domain": list(names), "range": [colours[name] for name in names]},
        legend={"title": None, "orient": "top", "symbolOpacity": 1, "columns": max(1, PAGE_WIDTH // 300)},
    )
    tooltip = [channel(name, "nominal", title=title) for name, title in TOOLTIP.items()]
    base = {"x": x, "color": colour}
    layer = [
        {
            "transform": [{"filter": "isValid(datum.low_ns) && isValid(datum.high_ns)"}],
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": base
            | {"y": channel("low_ns", "quantitative", title="median latency"), "y2": {"field": "high_ns"}},
        },
        {"mark": {"type": "line", "strokeWidth": 1.25, "opacity": 0.6}, "encoding": base | {"y": y}},
        {
            "mark": {"type": "point", "filled": True, "size": 44, "opacity": 1},
            "encoding": base | {"y": y, "tooltip": tooltip},
        },
        {
            "transform": [{"filter": "isValid(datum.step)"}],
            "mark": {"type": "text", "dy": -14, "fontSize": 11, "fontWeight": 600},
            "encoding": {"x": x, "y": y, "text": channel("step", "nominal")},
        },
    ]
    subtitle = (
        f"Median latency with its interval over versions and dates; numbers are steps, descriptive. On {view.where}."
    )
    if view.cells > len(cells):
        subtitle += f" The {len(cells)} of {view.cells} cells that changed most."
    spec: Spec = {
        "title": {"text": view.operator, "subtitle": subtitle},
        "data": {"name": "points"},
        "facet": channel("cell", "nominal", title=None, sort=cells, header={"labelLimit": width}),
        "columns": columns,
        "spacing": 22,
        "spec": {"width": width, "height": HEIGHT, "layer": layer},
        "usermeta": fit(LEAST_WIDTH, width, 90, len(cells), beside=columns),
    }
    return view.name, {"$schema": SCHEMA, **spec, "datasets": {"points": points}}


def _row(point: Any) -> dict[str, Any]:
    """A point as JSON has it."""
    row = dict(point)
    at = row.pop("at")
    return row | {"day": None if at is None else at.isoformat()}
