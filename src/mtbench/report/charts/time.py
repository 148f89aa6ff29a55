"""Time against sequence length: a panel for each dtype and batch size, colour contender, the interval as a band."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import polars as pl

from mtbench.report.arms import device_name
from mtbench.report.charts._spec import (
    PAGE_WIDTH,
    Spec,
    by_contender,
    channel,
    distinct,
    fit,
    if_picked,
    legend,
    logarithmic,
    narrow_legend,
    padded,
    picking,
    present,
    ticks,
    tooltip,
    with_rows,
)
from mtbench.report.tables import ALL_DTYPES, LATENCY, SPEEDS, THROUGHPUT, Metric, shape
from mtbench.report.views import SectionView
from mtbench.results import format
from mtbench.results.limits import per_second

OF = SectionView
ORDER = 1

TIME_LABEL = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, '~g') + ' s' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '~g') + ' ms' : "
    "datum.value >= 1e3 ? format(datum.value / 1e3, '~g') + ' µs' : format(datum.value, '~g') + ' ns'"
)

LEAST_WIDTH, MOST_BESIDE = 190, 5
"""Pixels of a panel that can still be read, and as many as are read side by side."""

TOOLTIP = {
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
USED = (
    "label", "hollow", "batch_size", "seq_len", "kv_len", "dtype", "held_dtype", *SPEEDS, "confidence", "flops", "bytes_moved",
    "tokens", "rounds", "restarts", "status", "converged", "framework", "library_version", "mtbench_version", "machine",
    "machine_name", "machine_id", "device", "device_kind", "device_name",
)  # fmt: skip
"""The columns of a record that a point tells."""

_POINT: dict[str, Any] = {
    "label": pl.String,
    "hollow": pl.Boolean,
    "panel": pl.String,
    "dtype": pl.String,
    "batch_size": pl.Int64,
    "seq_len": pl.Int64,
    "ns": pl.Float64,
    "low_ns": pl.Float64,
    "high_ns": pl.Float64,
} | {name: pl.String for name in TOOLTIP if name != "label"}


def draw(view: SectionView) -> tuple[str, Spec] | None:
    points = rows(view.records, view.metric)
    if points.is_empty():
        return None
    hollow = "Hollow: without a checked answer. " if points["hollow"].any() else ""
    subtitle = f"{view.metric.title}, {view.metric.how}: median with its interval. {hollow}{view.where}"
    return f"{view.name}-time", _spec(view, points, {"text": view.title, "subtitle": subtitle})


def rows(records: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """One row per contender and cell that has this metric, of charted and hollow records."""
    drawn = pl.col("charted") | pl.col("hollow")
    timed = records.lazy().filter(drawn, pl.col(metric.ns).is_not_null()).select(USED).collect()
    of = {name: timed[name].to_list() for name in timed.columns}
    dtypes = [dtype or ALL_DTYPES for dtype in of["held_dtype"]]
    times = {metric: _times(of, metric) for metric in (LATENCY, THROUGHPUT)}
    found = {name: of[name] for name in ("label", "hollow", "batch_size", "seq_len")} | {
        "dtype": dtypes,
        "panel": [f"{dtype}, batch {size}" for dtype, size in zip(dtypes, of["batch_size"], strict=True)],
        "ns": of[metric.ns],
        "low_ns": of[metric.low_ns],
        "high_ns": of[metric.high_ns],
        "shape": [
            shape(dict(zip(SHAPE, each, strict=True))) for each in zip(*(of[name] for name in SHAPE), strict=True)
        ],
        "latency": times[LATENCY],
        "throughput": list(map(_queued, times[THROUGHPUT], of[THROUGHPUT.ns])),
        "work": list(map(_work, of[metric.ns], of["flops"], of["bytes_moved"], of["tokens"])),
        "rounds": [
            f"{rounds} in {restarts} restarts" for rounds, restarts in zip(of["rounds"], of["restarts"], strict=True)
        ],
        "status": [
            status if converged is not False else f"{status}, not converged"
            for status, converged in zip(of["status"], of["converged"], strict=True)
        ],
        "versions": list(map(_versions, of["framework"], of["library_version"], of["mtbench_version"])),
        "machine": list(map(_machine, *(of[name] for name in MACHINE_FACTS))),
    }
    return pl.DataFrame(found, schema=_POINT)


SHAPE = ("batch_size", "seq_len", "kv_len", "dtype")
MACHINE_FACTS = ("machine_name", "machine", "machine_id", "device", "device_kind", "device_name")


def _times(of: Mapping[str, list[Any]], metric: Metric) -> list[str]:
    return list(map(format.interval, of[metric.ns], of[metric.low_ns], of[metric.high_ns], of["confidence"]))


def _queued(told: str, ns: float | None) -> str:
    return f"{told} per call, {format.significant(per_second(1, ns))} calls/s" if ns else told


def _work(ns: float, flops: float | None, moved: float | None, tokens: float | None) -> str:
    work = [format.rate(per_second(amount, ns), unit) for amount, unit in ((flops, "FLOP/s"), (moved, "B/s")) if amount]
    work += [format.tokens(per_second(tokens, ns))] if tokens else []
    return ", ".join(work) or format.NOTHING


@lru_cache(maxsize=1024)
def _versions(framework: str, library: str | None, mtbench: str) -> str:
    return ", ".join([f"{framework} {library or ''}".strip(), f"mtbench {mtbench}".strip()])


@lru_cache(maxsize=1024)
def _machine(*facts: str | None) -> str:
    row = dict(zip(MACHINE_FACTS, facts, strict=True))
    return f"{row['machine_name']}, {device_name(row)}"


PANEL = ("dtype", "batch_size", "panel")


def _spec(view: SectionView, points: pl.DataFrame, title: Spec) -> Spec:
    lengths, columns = distinct(points, "seq_len"), len(distinct(points, "batch_size"))
    panels = [panel for *_, panel in sorted(set(zip(*(points[name].to_list() for name in PANEL), strict=True)))]
    beside = columns if 1 < columns <= MOST_BESIDE else min(len(panels), MOST_BESIDE)
    width = max(LEAST_WIDTH, min(640, (PAGE_WIDTH - 110) // beside - 22))
    styles = present(view.styles, points)
    names = legend(styles, beside * (width + 22))
    known = (value for name in ("ns", "low_ns", "high_ns") for value in points[name].to_list())
    times = [value for value in known if value is not None]
    base = {
        "x": channel(
            "seq_len",
            "quantitative",
            title="sequence length",
            scale=logarithmic(padded(lengths, 1.19), base=2),
            axis={"values": lengths, "format": "d", "labelOverlap": "greedy", "grid": True},
        ),
        "color": by_contender(styles, [style.colour for style in styles], names),
        "opacity": if_picked(1, 0.12),
    }
    y = channel(
        "ns",
        "quantitative",
        title=view.metric.axis,
        scale=logarithmic(padded(times, 1.12)),
        axis={"labelExpr": TIME_LABEL, "values": ticks(times), "labelOverlap": "greedy"},
    )
    bounded = [{"filter": "isValid(datum.low_ns) && isValid(datum.high_ns)"}]
    bounds = {"y": channel("low_ns", "quantitative", title=view.metric.axis), "y2": {"field": "high_ns"}}
    dashes = by_contender(styles, [list(style.dash) for style in styles], names)
    shapes = by_contender(styles, [style.shape for style in styles], names)
    layer = [
        {
            "transform": bounded,
            "mark": {"type": "area", "clip": True},
            "encoding": base | bounds | {"opacity": if_picked(0.2, 0.03)},
        },
        {
            "transform": bounded,
            "mark": {"type": "rule", "clip": True, "strokeWidth": 1.5},
            "encoding": base | bounds,
        },
        {"mark": {"type": "line", "strokeWidth": 1.75}, "encoding": base | {"y": y, "strokeDash": dashes}},
        {
            "name": "points_layer",
            "transform": [{"filter": "!datum.hollow"}],
            "mark": {"type": "point", "filled": True, "size": 44, "opacity": 1},
            "encoding": base | {"y": y, "shape": shapes, "tooltip": tooltip(points, TOOLTIP)},
        },
        {
            "transform": [{"filter": "datum.hollow"}],
            "mark": {"type": "point", "filled": False, "size": 54, "opacity": 1, "strokeWidth": 1.75},
            "encoding": base | {"y": y, "shape": shapes, "tooltip": tooltip(points, TOOLTIP)},
        },
    ]
    spec = {
        "title": title,
        "data": {"name": "points"},
        "params": [picking("points_layer")],
        "facet": channel("panel", "nominal", title=None, sort=panels),
        "columns": beside,
        "spacing": 14,
        "spec": {"width": width, "height": max(170, min(300, width // 2)), "layer": layer},
        "usermeta": fit(LEAST_WIDTH, 640, 90, len(panels), beside=beside, **narrow_legend(styles)),
    }
    return with_rows(spec, "points", points)
