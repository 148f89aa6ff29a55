"""The charts, as Vega-Lite specifications: plain dictionaries that hold their own aggregated rows and nothing else.

Altair checks the form of a chart; the rows are put in afterwards, under the name that the chart gives them, which keeps
that check fast and sets no limit on their number. Colours of text and lines come from `theme`, since they follow the
page; colours of contenders from their styles, since they must not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from mtbench.report.arms import Style
from mtbench.results import format

Spec = dict[str, Any]

PAGE_WIDTH = 1100  # pixels that the pages' column of text offers
TIME_LABEL = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, '~g') + ' s' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '~g') + ' ms' : "
    "datum.value >= 1e3 ? format(datum.value / 1e3, '~g') + ' µs' : format(datum.value, '~g') + ' ns'"
)
REACH = 2  # octaves to either side of 1: a colour means the same ratio in every chart, and beyond 4× all are alike
RATIO_LABEL = f"format(pow(2, datum.value), '.3~r') + 'x' + (abs(datum.value) < {REACH} ? '' : ' and beyond')"

_INK = {
    "light": {"text": "#1f2328", "muted": "#59636e", "grid": "#e4e8ec", "middle": "#f3f3f1"},
    "dark": {"text": "#e6e9ec", "muted": "#9aa4ae", "grid": "#2d333b", "middle": "#2b3037"},
}
# Blue against orange is told apart in every common colour blindness; the middle is nearly the page itself.
_ENDS = {"light": ("#2166ac", "#b35806"), "dark": ("#2f7fc9", "#c7670f")}


def theme(name: str) -> Spec:
    """The Vega configuration of a light or dark page. Nothing in a chart may be readable in one of them only."""
    ink = _INK[name]
    low, high = _ENDS[name]
    return {
        "background": "transparent",
        "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        "view": {"stroke": ink["grid"]},
        "title": {"color": ink["text"], "subtitleColor": ink["muted"], "fontSize": 14, "fontWeight": 600}
        | {"subtitleFontSize": 12, "subtitlePadding": 4, "offset": 12, "anchor": "start"},
        "axis": {"labelColor": ink["muted"], "titleColor": ink["text"], "gridColor": ink["grid"]}
        | {"domainColor": ink["grid"], "tickColor": ink["grid"], "titleFontWeight": 500, "titlePadding": 8},
        "header": {"labelColor": ink["text"], "titleColor": ink["text"], "labelFontWeight": 600, "labelFontSize": 11},
        "legend": {"labelColor": ink["text"], "titleColor": ink["text"], "labelLimit": 0, "titleFontWeight": 500},
        "text": {"color": ink["text"]},
        "rule": {"color": ink["text"]},
        "range": {"diverging": [low, ink["middle"], high]},
    }


def time_chart(points: pl.DataFrame, styles: Mapping[str, Style], title: str, subtitle: str, axis: str) -> Spec:
    """Time against sequence length: rows dtype, columns batch size, colour contender, the interval as a band.

    `points` has label, dtype, batch_size, seq_len, ns, low_ns, high_ns, and text columns for the tooltip.
    """
    lengths = sorted(points["seq_len"].unique())
    columns = points["batch_size"].n_unique()
    width = max(130, min(640, (PAGE_WIDTH - 110) // columns - 22))
    height = max(170, min(300, width // 2))
    present = [style for style in styles.values() if style.label in set(points["label"])]
    names = [style.label for style in present]
    picked = alt.selection_point(name="picked", fields=["label"], bind="legend")
    legend = _legend(names, columns * (width + 22))
    domain = alt.Scale(domain=names, range=[style.colour for style in present])
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X(
            "seq_len:Q",
            title="sequence length",
            scale=alt.Scale(type="log", base=2, domain=_padded(lengths, 1.19), nice=False),
            axis=alt.Axis(values=lengths, format="d", labelOverlap="greedy", grid=True),
        ),
        color=alt.Color("label:N", scale=domain, legend=legend),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
    )
    y = alt.Y(
        "ns:Q",
        title=axis,
        scale=alt.Scale(type="log", domain=_padded(_times(points), 1.12), nice=False),
        axis=alt.Axis(labelExpr=TIME_LABEL, values=_ticks(_times(points)), labelOverlap="greedy"),
    )
    bounds: Spec = {"y": alt.Y("low_ns:Q", title=axis), "y2": "high_ns:Q"}
    known = "isValid(datum.low_ns) && isValid(datum.high_ns)"
    dashes = alt.Scale(domain=names, range=[list(style.dash) for style in present])
    shapes = alt.Scale(domain=names, range=[style.shape for style in present])
    chart = alt.layer(
        base.transform_filter(known)
        .mark_area(clip=True)
        .encode(**bounds, opacity=alt.when(picked).then(alt.value(0.2)).otherwise(alt.value(0.03))),
        base.transform_filter(known).mark_rule(clip=True, strokeWidth=1.5).encode(**bounds),
        base.mark_line(strokeWidth=1.75).encode(y=y, strokeDash=alt.StrokeDash("label:N", scale=dashes, legend=legend)),
        base.mark_point(filled=True, size=44, opacity=1)
        .encode(y=y, shape=alt.Shape("label:N", scale=shapes, legend=legend), tooltip=_tooltip(points, _POINT_TOOLTIP))
        .add_params(picked),
    ).properties(width=width, height=height)
    faceted = chart.facet(
        row=alt.Row("dtype:N", title=None, header=alt.Header(labelAngle=-90)),
        column=alt.Column("batch_size:O", title=None, header=alt.Header(labelExpr="'batch ' + (datum.label)")),
        spacing=14,
    ).properties(title=alt.Title(title, subtitle=subtitle))
    return _with_rows(faceted, "points", points)


def ratio_chart(cells: pl.DataFrame, pair: tuple[str, str], subtitle: str) -> Spec:
    """The ratio of two contenders' times over shape and dtype. Which two is set by the signals `arm_a` and `arm_b`.

    `cells` has a, b, dtype, batch_size, seq_len, ratio, verdict, and text columns for the tooltip.
    """
    lengths, batches = sorted(cells["seq_len"].unique()), sorted(cells["batch_size"].unique())
    dtypes = cells["dtype"].n_unique()
    step = min(76, (PAGE_WIDTH - 240) // (len(lengths) * dtypes))
    beside, step = (dtypes, step) if step >= 54 else (1, 66)  # all dtypes in one row, or else each in its own
    base = _chosen(pair).encode(
        x=alt.X("seq_len:O", title="sequence length", scale=alt.Scale(domain=lengths), axis=_flat(labelAngle=0)),
        y=alt.Y("batch_size:O", title="batch size", scale=alt.Scale(domain=batches), axis=_flat(labelAngle=0)),
    )
    chart = _heat(base, cells, "verdict:N").properties(width=alt.Step(step), height=alt.Step(42))
    faceted = chart.facet(facet=alt.Facet("dtype:N", title=None), columns=beside, spacing=18).properties(
        title=_ratio_title(subtitle)
    )
    return _with_rows(faceted, "cells", cells)


OPERATORS_SIDE_BY_SIDE = 8
"""As many as a page is wide; more stand below each other."""


def overview_chart(summary: pl.DataFrame, pair: tuple[str, str], subtitle: str) -> Spec:
    """Every contender against one, by operator: the geometric mean of the ratio, and how many cells it is over.

    `summary` has operator, a, b, ratio, note, and text columns for the tooltip. Which one is set by the signal `arm_a`.
    """
    contenders = summary["b"].unique(maintain_order=True).to_list()
    if summary["operator"].n_unique() > OPERATORS_SIDE_BY_SIDE:  # a page is longer than it is wide
        lines = max(len(str(label).split(" ")) for label in contenders)
        split = _flat(labelAngle=0, orient="top", labelPadding=12 * lines - 8, labelExpr="split(datum.label, ' ')")
        base = _chosen(pair, only_baseline=True).encode(
            x=alt.X("b:N", title=None, sort=contenders, axis=split),
            y=alt.Y("operator:N", title=None, axis=_flat(labelLimit=0)),
        )
    else:
        base = _chosen(pair, only_baseline=True).encode(
            x=alt.X("operator:N", title=None, axis=_flat(labelAngle=0, labelExpr="split(datum.label, '_')")),
            y=alt.Y("b:N", title=None, sort=contenders, axis=_flat(labelLimit=0)),
        )
    chart = _heat(base, summary, "note:N").properties(
        width=alt.Step(112), height=alt.Step(42), title=_overview_title(subtitle)
    )
    return _with_rows(chart, "cells", summary)


def roofline_chart(
    points: pl.DataFrame,
    flops_per_s: float,
    memory: Sequence[tuple[float, float]],
    styles: Mapping[str, Style],
    title: str,
    subtitle: str,
) -> Spec:
    """FLOP/s achieved against intensity, both axes logarithmic, under the measured roofs, each with its number on it.

    `points` has label, intensity, flops_per_s, and text columns for the tooltip; `memory` holds bytes/s and the working set
    at which it was measured, the slowest first.
    """
    width, height = 960, 460
    ridges = [flops_per_s / rate for rate, _ in memory]
    x = _padded([*points["intensity"], *ridges], 4)
    y = _padded([*points["flops_per_s"], flops_per_s], 2.2)
    # Proportionality is a line of one slope between logarithmic axes, along which its name is written.
    slope = -math.degrees(math.atan2(height / math.log(y[1] / y[0]), width / math.log(x[1] / x[0])))
    roofs, names = [], []
    for (rate, working_set), ridge in zip(memory, ridges, strict=True):
        start = max(x[0], y[0] / rate)
        roofs.append({"x": start, "y": start * rate, "x2": ridge, "y2": flops_per_s})
        middle = math.sqrt(start * ridge)
        text = f"{format.rate(rate, 'B/s')} at {format.size(working_set)}"
        names.append({"x": middle, "y": middle * rate, "text": text, "angle": slope})
    flat = math.sqrt(ridges[0] * x[1])
    roofs.append({"x": min(ridges), "y": flops_per_s, "x2": x[1], "y2": flops_per_s})
    names.append({"x": flat, "y": flops_per_s, "text": format.rate(flops_per_s, "FLOP/s"), "angle": 0.0})

    present = [style for style in styles.values() if style.label in set(points["label"])]
    labels = [style.label for style in present]
    legend = _legend(labels, width)
    picked = alt.selection_point(name="picked", fields=["label"], bind="legend")
    horizontal = alt.X(
        "intensity:Q",
        title="intensity, FLOP per byte",
        scale=alt.Scale(type="log", domain=x, nice=False),
        axis=alt.Axis(format="~r", values=_decades(x), labelOverlap="greedy"),
    )
    vertical = alt.Y(
        "flops_per_s:Q",
        title="FLOP/s achieved",
        scale=alt.Scale(type="log", domain=y, nice=False),
        axis=alt.Axis(format="~s", values=_decades(y), labelOverlap="greedy"),
    )
    placed = {"x": alt.X("x:Q", title=horizontal["title"]), "y": alt.Y("y:Q", title=vertical["title"])}
    chart = alt.layer(
        alt.Chart(alt.NamedData("points"))
        .mark_point(filled=True, size=60, clip=True)
        .encode(
            x=horizontal,
            y=vertical,
            color=alt.Color(
                "label:N", scale=alt.Scale(domain=labels, range=[one.colour for one in present]), legend=legend
            ),
            shape=alt.Shape(
                "label:N", scale=alt.Scale(domain=labels, range=[one.shape for one in present]), legend=legend
            ),
            opacity=alt.when(picked).then(alt.value(0.85)).otherwise(alt.value(0.08)),
            tooltip=_tooltip(points, _ROOF_TOOLTIP),
        )
        .add_params(picked),
        alt.Chart(alt.NamedData("roofs")).mark_rule(strokeWidth=1.75, clip=True).encode(**placed, x2="x2:Q", y2="y2:Q"),
        alt.Chart(alt.NamedData("names"))
        .mark_text(dy=-9, fontSize=12, fontWeight=600)
        .encode(**placed, text="text:N", angle=alt.Angle("angle:Q", scale=None)),
    ).properties(
        width=width, height=height, title=alt.Title(title, subtitle=subtitle), description=f"{title}. {subtitle}"
    )
    datasets = {"points": points.to_dicts(), "roofs": roofs, "names": names}
    return _with_rows(chart, "points", points) | {"datasets": datasets}


def distance_chart(bars: pl.DataFrame, styles: Mapping[str, Style], title: str, subtitle: str) -> Spec:
    """The part of the limit that each contender reaches in each operator, in the order of the rows.

    `bars` has operator, label, fraction, low, high, and text columns for the label and the tooltip.
    """
    present = [style for style in styles.values() if style.label in set(bars["label"])]
    labels = [style.label for style in present]
    most = max(1.0, *bars["high"])
    order = bars["operator"].unique(maintain_order=True).to_list()
    base = alt.Chart(alt.NamedData("bars")).encode(
        y=alt.Y("operator:N", title=None, sort=order, axis=_flat(labelLimit=0)),
        yOffset=alt.YOffset("label:N", sort=labels, scale=alt.Scale(domain=labels, paddingInner=0.15)),
    )
    along = alt.X(
        "fraction:Q",
        title="part of the limit reached, median over cells; the line is from the farthest cell to the nearest",
        scale=alt.Scale(domain=[0, 1.1 * most], nice=False),
        axis=alt.Axis(format="~%", values=[tick / 5 for tick in range(math.floor(5 * most) + 1)], grid=True),
    )
    colour = alt.Color(
        "label:N",
        scale=alt.Scale(domain=labels, range=[style.colour for style in present]),
        legend=_legend(labels, PAGE_WIDTH - 300),
    )
    chart = alt.layer(
        base.mark_bar().encode(x=along, color=colour, tooltip=_tooltip(bars, _BAR_TOOLTIP)),
        base.mark_rule(strokeWidth=1).encode(x=alt.X("low:Q", title=along["title"]), x2="high:Q"),
        base.mark_text(align="left", dx=5, fontSize=11).encode(x=alt.X("high:Q", title=along["title"]), text="text:N"),
    ).properties(
        width=PAGE_WIDTH - 300,
        height=alt.Step(17, **{"for": "offset"}),
        title=alt.Title(title, subtitle=subtitle),
        description=f"{title}. {subtitle}",
    )
    return _with_rows(chart, "bars", bars)


def _heat(base: alt.Chart, cells: pl.DataFrame, note: str) -> alt.LayerChart | alt.FacetChart:
    colour = alt.Color(
        "log2_ratio:Q",
        scale=alt.Scale(domain=[-REACH, REACH], domainMid=0, clamp=True, interpolate="lab"),
        legend=alt.Legend(
            title="time ratio",
            labelExpr=RATIO_LABEL,
            values=list(range(-REACH, REACH + 1)),
            gradientLength=110,
            titlePadding=10,
            offset=24,
        ),
    )
    # On a strong fill the page's own ink is not readable.
    ink = alt.when(f"abs(datum.log2_ratio) > {0.75 * REACH}").then(alt.value("white"))
    return alt.layer(
        base.mark_rect().encode(color=colour, tooltip=_tooltip(cells, _RATIO_TOOLTIP)),
        base.mark_text(dy=-6, fontSize=12, fontWeight=600).encode(text="ratio_text:N", color=ink),
        base.mark_text(dy=9, fontSize=10).encode(text=note, color=ink),
    )


def _chosen(pair: tuple[str, str], only_baseline: bool = False) -> alt.Chart:
    a, b = (alt.param(name=name, value=label) for name, label in zip(("arm_a", "arm_b"), pair, strict=True))
    rule = "datum.a === arm_a" if only_baseline else "datum.a === arm_a && datum.b === arm_b"
    chart = alt.Chart(alt.NamedData("cells")).transform_filter(rule)
    return chart.transform_calculate(log2_ratio="log(datum.ratio) / LN2").add_params(a, b)


def _ratio_title(subtitle: str) -> alt.Title:
    return alt.Title(alt.expr("'Time of ' + arm_b + ' ÷ time of ' + arm_a"), subtitle=subtitle)


def _overview_title(subtitle: str) -> alt.Title:
    return alt.Title(alt.expr("'Time relative to ' + arm_a"), subtitle=subtitle)


def _flat(**options: Any) -> alt.Axis:
    return alt.Axis(domain=False, ticks=False, **{"labelPadding": 6, **options})


_POINT_TOOLTIP = {
    "label": "arm",
    "shape": "shape",
    "latency": "latency",
    "throughput": "throughput",
    "work": "achieved",
    "rounds": "rounds",
    "status": "status",
    "versions": "versions",
    "machine": "machine",
}
_ROOF_TOOLTIP = {
    "operator": "operator",
    "params": "parameters",
    "shape": "shape",
    "label": "arm",
    "work": "achieved",
    "per_call": "time per call",
    "limit": "of the limit",
}
_BAR_TOOLTIP = {"operator": "operator", "label": "arm", "text": "median", "range": "of all cells", "cells": "cells"}
_RATIO_TOOLTIP = {
    "b": "time of",
    "a": "relative to",
    "shape": "shape",
    "ratio_text": "ratio",
    "bounds": "interval",
    "verdict": "verdict",
    "verdicts": "verdicts",
    "evidence": "evidence",
}


def _tooltip(rows: pl.DataFrame, names: Mapping[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{column}:N", title=title) for column, title in names.items() if column in rows.columns]


def _with_rows(chart: alt.TopLevelMixin, name: str, rows: pl.DataFrame) -> Spec:
    spec: Spec = chart.to_dict()
    del spec["config"]  # the theme is the page's
    return spec | {"datasets": {name: rows.to_dicts()}}


def _times(points: pl.DataFrame) -> list[float]:
    return [value for name in ("ns", "low_ns", "high_ns") for value in points[name].drop_nulls().to_list()]


def _padded(values: list[Any], factor: float) -> list[float]:
    """The ends of a logarithmic axis, with room at both, so that a lone value has an axis too."""
    return [min(values) / factor, max(values) * factor]


def _decades(ends: list[float]) -> list[float]:
    """Powers of ten along a logarithmic axis that goes over several."""
    return [10.0**power for power in range(math.ceil(math.log10(ends[0])), math.floor(math.log10(ends[1])) + 1)]


def _ticks(values: list[float]) -> list[float]:
    """Round times along a logarithmic axis, about as many as can be read: powers of ten, or 1-2-5, or finer."""
    low, high = min(values) / 1.12, max(values) * 1.12
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            return ticks
    return [low + (high - low) * part / 4 for part in range(5)] if high > low else [low]


def _legend(names: list[str], width: int) -> alt.Legend:
    return alt.Legend(
        title=None,
        orient="top",
        columns=_legend_columns(names, width),
        symbolOpacity=1,
        symbolStrokeWidth=0,
        symbolSize=70,
        columnPadding=22,
        offset=10,
    )


def _legend_columns(names: list[str], width: int) -> int:
    longest = max(map(len, names), default=1)
    return max(1, min(len(names), width // (longest * 7 + 50)))
