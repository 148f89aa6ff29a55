"""FLOP/s achieved against intensity, both axes logarithmic, under the measured roofs, each with its number on it."""

import math

from mtbench.report.charts._spec import (
    Spec,
    by_contender,
    channel,
    decades,
    fit,
    if_picked,
    legend,
    logarithmic,
    narrow_legend,
    padded,
    picking,
    present,
    tooltip,
    with_rows,
)
from mtbench.report.roofline import Roofs
from mtbench.report.views import LimitsView
from mtbench.results import format

OF = LimitsView
ORDER = 1

WIDTH, HEIGHT = 960, 460

TOOLTIP = {
    "operator": "operator",
    "params": "parameters",
    "shape": "shape",
    "label": "arm",
    "work": "achieved",
    "per_call": "time per call",
    "limit": "of the limit",
}


def draw(view: LimitsView) -> tuple[str, Spec] | None:
    roofs, points = view.ground.roofs, view.ground.points
    if roofs is None or points.is_empty():
        return None
    ridges = [roofs.flops_per_s / rate for rate, _ in roofs.memory]
    x = padded([*points["intensity"], *ridges], 4)
    y = padded([*points["flops_per_s"], roofs.flops_per_s], 2.2)
    styles = present(view.styles, points)
    names = legend(styles, WIDTH)
    encoding: Spec = {
        "x": channel(
            "intensity",
            "quantitative",
            title="intensity, FLOP per byte",
            scale=logarithmic(x),
            axis={"format": "~r", "values": decades(x), "labelOverlap": "greedy"},
        ),
        "y": channel(
            "flops_per_s",
            "quantitative",
            title="FLOP/s achieved",
            scale=logarithmic(y),
            axis={"format": "~s", "values": decades(y), "labelOverlap": "greedy"},
        ),
        "color": by_contender(styles, [one.colour for one in styles], names),
        "shape": by_contender(styles, [one.shape for one in styles], names),
        "opacity": if_picked(0.85, 0.08),
        "tooltip": tooltip(points, TOOLTIP),
    }
    placed = {axis: channel(axis, "quantitative", title=encoding[axis]["title"]) for axis in ("x", "y")}
    text = channel("text", "nominal")
    # Proportionality is a line of one slope between logarithmic axes, however wide the page draws them.
    slope = f"-atan2(height / {math.log(y[1] / y[0])}, width / {math.log(x[1] / x[0])}) * 180 / PI"
    name = {"type": "text", "fontSize": 12, "fontWeight": 600}
    layer = [
        {
            "name": "points_layer",
            "data": {"name": "points"},
            "transform": [{"filter": "!datum.hollow"}],
            "mark": {"type": "point", "filled": True, "size": 60, "clip": True},
            "encoding": encoding,
        },
        {
            "data": {"name": "points"},
            "transform": [{"filter": "datum.hollow"}],
            "mark": {"type": "point", "filled": False, "size": 60, "clip": True, "strokeWidth": 1.5},
            "encoding": encoding,
        },
        {
            "data": {"name": "roofs"},
            "mark": {"type": "rule", "strokeWidth": 1.75, "clip": True},
            "encoding": placed | {"x2": {"field": "x2"}, "y2": {"field": "y2"}},
        },
        {
            "data": {"name": "names"},
            "transform": [{"filter": "!datum.memory"}],
            "mark": name | {"dy": -9},
            "encoding": placed | {"text": text},
        },
        *(
            {
                "data": {"name": "names"},
                "transform": [{"filter": f"datum.memory === '{which}'"}],
                "mark": name | {"dy": dy, "angle": {"expr": slope}},
                "encoding": placed | {"text": text},
            }
            for which, dy in (("highest", -9), ("lower", 13))
        ),
    ]
    title = f"Roofline, {view.ground.heading}"
    subtitle = f"The roofs are measured. Each point is a contender in one cell, in queued calls. {view.where}"
    spec = {
        "title": {"text": title, "subtitle": subtitle},
        "description": f"{title}. {subtitle}",
        "params": [picking("points_layer")],
        "width": WIDTH,
        "height": HEIGHT,
        "layer": layer,
        "usermeta": fit(240, WIDTH, 80, **narrow_legend(styles)),
    }
    lines, words = _roofs(roofs, ridges, x, y)
    return view.ground.stem, with_rows(spec, "points", points, roofs=lines, names=words)


def _roofs(roofs: Roofs, ridges: list[float], x: list[float], y: list[float]) -> tuple[list[Spec], list[Spec]]:
    """The roofs as lines, and their names along them."""
    lines, names = [], []
    highest = max(rate for rate, _ in roofs.memory)
    for (rate, working_set), ridge in zip(roofs.memory, ridges, strict=True):
        start = max(x[0], y[0] / rate)
        lines.append({"x": start, "y": start * rate, "x2": ridge, "y2": roofs.flops_per_s})
        middle = math.sqrt(start * ridge)
        text = f"{format.rate(rate, 'B/s')} at {format.size(working_set)}"
        memory = "highest" if rate == highest else "lower"  # above its line, or below, so that none covers the other
        names.append({"x": middle, "y": middle * rate, "text": text, "memory": memory})
    lines.append({"x": min(ridges), "y": roofs.flops_per_s, "x2": x[1], "y2": roofs.flops_per_s})
    flat = math.sqrt(ridges[0] * x[1])
    names.append({"x": flat, "y": roofs.flops_per_s, "text": format.rate(roofs.flops_per_s, "FLOP/s"), "memory": None})
    return lines, names
