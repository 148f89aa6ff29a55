"""Each library's fastest form against that of one other in every cell: how many times as fast, with its interval, on a
logarithmic axis. Filled where a verdict proves it."""

from typing import Any

import polars as pl

from mtbench.report.charts._spec import Spec, channel, logarithmic, tooltip, with_rows
from mtbench.report.views import FrontView
from mtbench.results.answers import sentences, words
from mtbench.results.answers.contests import Duel
from mtbench.results.certainty import OPEN, SURE, certainty
from mtbench.results.format import times

OF = FrontView
ORDER = 1

MOST_CELLS = 40
"""Rows of the chart; the pages of operators have every cell."""

LEAST_REACH = 1.5
"""The axis reaches so far to either side of 1, however alike all are."""

FARTHEST = 1000.0

WIDTH = 640
"""Pixels, where no page sets it."""

NAME, POINT = 20, 14
"""Pixels that a cell's name takes, and each library's point below it."""

TOOLTIP = {"cell": "cell", "said": "measured", "sure": "certainty"}


def draw(view: FrontView) -> tuple[str, Spec] | None:
    points = rows(view)
    if points.is_empty():
        return None
    reference = view.duels[0].a.library
    libraries = sorted(set(points["library"]))
    ends = [max([LEAST_REACH, *(max(one, 1 / one) for one in points[name])]) for name in ("low", "high", "speed")]
    reach = min(max(ends) * 1.15, FARTHEST)
    x = channel(
        "speed",
        "quantitative",
        title=None,
        scale=logarithmic([1 / reach, reach], clamp=True),
        axis={
            "labelExpr": "datum.value === 1 ? 'equal' : datum.value > 1 ? format(datum.value, '.3~g') + 'x faster' : "
            "format(1 / datum.value, '.3~g') + 'x slower'",
            "values": _ticks(reach),
            "labelOverlap": True,
        },
    )
    y = channel("cell", "nominal", title=None, sort=None, axis=None, scale={"padding": 0})
    offset = channel(
        "library",
        "nominal",
        sort=libraries,
        scale={"domain": libraries, "range": [NAME - 6, NAME - 6 + POINT * len(libraries)]},
    )
    colour = channel(
        "library",
        "nominal",
        title=f"against {reference}",
        scale={"domain": libraries, "range": [view.colours.get(one, "#888") for one in libraries]},
        legend={"orient": "top", "symbolStrokeWidth": 0, "direction": "horizontal"},
    )
    place = {"y": y, "yOffset": offset, "color": colour}
    bounds = {"x": {**x, "field": "low"}, "x2": {"field": "high"}}
    layer: list[Spec] = [
        {"mark": {"type": "rule", "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 1}}, "data": {"values": [{}]}},
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": place | bounds,
            "transform": [{"filter": "datum.bounded"}],
        },
        {
            "mark": {"type": "text", "align": "left", "baseline": "top", "fontSize": 11, "x": 4, "dy": 4},
            "encoding": {"y": {**y, "bandPosition": 0}, "text": channel("cell", "nominal")},
            # once, and not over and over for each of its points
            "transform": [{"aggregate": [{"op": "count", "as": "points"}], "groupby": ["cell"]}],
        },
        *(
            {
                "mark": {"type": "point", "size": 70, "filled": filled, "strokeWidth": 1.5, "opacity": 1},
                "encoding": place | {"x": x, "tooltip": tooltip(points, TOOLTIP)},
                "transform": [{"filter": f"datum.sure {'===' if filled else '!=='} '{SURE}'"}],
            }
            for filled in (True, False)
        ),
    ]
    text = (
        f"The fastest form of each library against that of {reference}, by latency, to the right of the line faster. Bars are "
        f"95 % intervals. Filled: proved. Hollow: likely or open. {view.where}"
    )
    question = f"ow many times as fast as {reference}?"
    title = f"{view.machine}: h{question}" if view.machine else f"H{question}"
    spec = {
        "title": {"text": title, "subtitle": _lines(text)},
        "description": text,
        "data": {"name": "duels"},
        "width": "container",  # a name stands above its points, so that the chart may be as narrow as a phone
        "config": {"view": {"continuousWidth": WIDTH}},
        "height": (NAME + POINT * len(libraries)) * points["cell"].n_unique(),
        "layer": layer,
    }
    return view.name, with_rows(spec, "duels", points)


def rows(view: FrontView) -> pl.DataFrame:
    """One row for each cell and library beside the reference."""
    kept = view.duels[: MOST_CELLS * max(1, len({one.b.library for one in view.duels}))]
    found = [_row(one, view) for one in kept]
    kinds = dict.fromkeys(("cell", "library", "said", "sure"), pl.String) | dict.fromkeys(
        ("speed", "low", "high"), pl.Float64
    )
    return pl.DataFrame(found, schema={**kinds, "bounded": pl.Boolean})


def _row(one: Duel, view: FrontView) -> dict[str, Any]:
    speed = one.comparison.swapped()  # the reference's time over the other's: above 1 where the other is faster
    bounded = speed.bounds is not None
    told = sentences.title(one.group, view.told[one.group.operator])
    sure = certainty(one.comparison)
    ahead = speed if speed.ratio >= 1 else one.comparison
    word = "faster" if speed.ratio >= 1 else "slower"
    return {
        "cell": f"{told}, {words.shape_words(one.shape, view.shapes)}",
        "library": one.b.library,
        "speed": speed.ratio,
        "low": speed.low if bounded else speed.ratio,
        "high": speed.high if bounded else speed.ratio,
        "bounded": bounded,
        "said": f"{one.b.name} is {times(ahead.ratio, *(ahead.bounds or ()))} {word} than {one.a.name}",
        "sure": sure.level if sure.level == SURE else f"{sure.level}: {sure.why}" if sure.why else OPEN,
    }


def _ticks(reach: float) -> list[float]:
    steps = [one for one in (1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 300, 1000) if one <= reach]
    chosen = steps if len(steps) <= 4 else [one for one in (2, 5, 10, 20, 50, 100, 300, 1000) if one <= reach]
    return [*(1 / one for one in reversed(chosen)), 1.0, *chosen]


def _lines(text: str, width: int = 52) -> list[str]:
    """A subtitle in lines, since a chart does not wrap it."""
    lines = [""]
    for word in text.split(" "):
        lines[-1:] = [lines[-1], word] if len(lines[-1]) + len(word) >= width else [f"{lines[-1]} {word}".strip()]
    return lines
