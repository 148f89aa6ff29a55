"""Pieces of Vega-Lite specifications: plain dictionaries that hold their own aggregated rows and nothing else.

A test holds every chart to the schema of Vega-Lite, which Altair brings; checking it in each report took most of its time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mtbench.report.arms import Style

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name for the language's version; nothing is read from there."""

PAGE_WIDTH = 1100  # pixels that the pages' column of text offers


def channel(field: str, kind: str, /, **options: Any) -> Spec:
    """What a chart's channel shows: `kind` is quantitative, ordinal or nominal."""
    return {"field": field, "type": kind, **options}


def with_rows(spec: Spec, name: str, rows: pl.DataFrame, **others: list[Spec]) -> Spec:
    """The specification with its rows, under the name by which its data go. They stay a frame until they are written: see
    `Chart`."""
    return {"$schema": SCHEMA, **spec, "datasets": {name: rows, **others}}


def fit(least: int, most: int, margin: int, panels: int = 1, steps: int = 1, **more: Any) -> Spec:
    """How a page fits a chart to its width: so many panels, each of `least` to `most` pixels in all or, where it has steps, to
    a step, and `margin` pixels for axes. Without a page a chart is as wide as PAGE_WIDTH allows."""
    return {"fit": {"least": least, "most": most, "margin": margin, "panels": panels, "steps": steps, **more}}


def tooltip(rows: pl.DataFrame, names: Mapping[str, str]) -> list[Spec]:
    """The words of a mark, of the columns that its rows have."""
    return [channel(column, "nominal", title=title) for column, title in names.items() if column in rows.columns]


def flat(**options: Any) -> Spec:
    """An axis of names, without lines."""
    return {"domain": False, "ticks": False, "labelPadding": 6, **options}


def distinct(rows: pl.DataFrame, column: str) -> list[Any]:
    """The values of a column in order, each once."""
    return sorted(set(rows[column].to_list()))


def present(styles: Mapping[str, Style], rows: pl.DataFrame) -> list[Style]:
    """The styles of the contenders that the rows have, in the order of legends."""
    labels = set(rows["label"])
    return [style for style in styles.values() if style.label in labels]


def by_contender(styles: Sequence[Style], values: Sequence[Any], legend: Spec) -> Spec:
    """A channel that tells contenders apart by these values."""
    return channel(
        "label", "nominal", scale={"domain": [s.label for s in styles], "range": list(values)}, legend=legend
    )


def picking(view: str) -> Spec:
    """Clicking a name in the legend singles a contender out; `view` names the layer that has the legend."""
    select = {"type": "point", "fields": ["label"]}
    return {"name": "picked", "bind": "legend", "select": select, "views": [view]}


def if_picked(value: float, otherwise: float) -> Spec:
    return {"condition": [{"param": "picked", "value": value}], "value": otherwise}


def legend(styles: Sequence[Style], width: int) -> Spec:
    """The names of contenders above a chart of a width, in as many columns as fit."""
    longest = max((len(style.label) for style in styles), default=1)
    columns = max(1, min(len(styles), width // (longest * 7 + 50)))
    style = {"symbolOpacity": 1, "symbolStrokeWidth": 0, "symbolSize": 70, "columnPadding": 22, "offset": 10}
    return {"title": None, "orient": "top", "columns": columns, **style}


def narrow_legend(styles: Sequence[Style]) -> Spec:
    """What a page needs to know to break a legend into lines: the pixels of its longest name."""
    return {"legend": max((len(style.label) for style in styles), default=1) * 7 + 50}


def logarithmic(ends: list[float], **options: Any) -> Spec:
    return {"type": "log", "domain": ends, "nice": False, **options}


def padded(values: list[Any], factor: float) -> list[float]:
    """The ends of a logarithmic axis, with room at both, so that a lone value has an axis too."""
    return [min(values) / factor, max(values) * factor]


def decades(ends: list[float]) -> list[float]:
    """Powers of ten along a logarithmic axis that goes over several."""
    return [10.0**power for power in range(math.ceil(math.log10(ends[0])), math.floor(math.log10(ends[1])) + 1)]


def ticks(values: list[float]) -> list[float]:
    """Round times along a logarithmic axis, about as many as can be read: powers of ten, or 1-2-5, or finer."""
    low, high = min(values) / 1.12, max(values) * 1.12
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) >= 3:
            return found
    if high == low:
        return [low]
    size = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 5)
    return [round(number * step, 9) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
