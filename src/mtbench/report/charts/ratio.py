"""The ratio of two contenders' times over shape and dtype. Which two is set by the signals `arm_a` and `arm_b`."""

from mtbench.report.charts import _heat
from mtbench.report.charts._spec import PAGE_WIDTH, Spec, channel, distinct, fit, flat, with_rows
from mtbench.report.ratios import WORDS
from mtbench.report.views import SectionView

OF = SectionView
ORDER = 2

SHOWN = ("a", "b", "dtype", "batch_size", "seq_len", "ratio", "verdict", "doubt", *WORDS)


def draw(view: SectionView) -> tuple[str, Spec] | None:
    if not view.pair or view.ratios.is_empty():
        return None
    cells = view.ratios.select(SHOWN)
    lengths, batches = distinct(cells, "seq_len"), distinct(cells, "batch_size")
    dtypes = len(distinct(cells, "dtype"))
    step = min(76, (PAGE_WIDTH - 240) // (len(lengths) * dtypes))
    beside, step = (dtypes, step) if step >= 54 else (1, 66)  # all dtypes in one row, or else each in its own
    axis = flat(labelAngle=0)
    layers = _heat.layers(
        cells,
        "datum.a === arm_a && datum.b === arm_b",
        "verdict",
        x=channel("seq_len", "ordinal", title="sequence length", scale={"domain": lengths}, axis=axis),
        y=channel("batch_size", "ordinal", title="batch size", scale={"domain": batches}, axis=axis),
    )
    subtitle = f"{view.title}, {view.metric.title.lower()}. Below 1 the first is faster. Pale: not proved. {view.where}"
    spec = {
        "title": {"text": {"expr": "'Time of ' + arm_b + ' ÷ time of ' + arm_a"}, "subtitle": subtitle},
        "data": {"name": "cells"},
        "params": _heat.arms(view.pair),
        "facet": channel("dtype", "nominal", title=None),
        "columns": beside,
        "spacing": 18,
        "usermeta": fit(56, 76, 70, dtypes, len(lengths)) | {"caption": "Time of {arm_b} ÷ time of {arm_a}"},
        "spec": {"width": {"step": step}, "height": {"step": 42}, "layer": layers},
    }
    return f"{view.name}-ratio", with_rows(spec, "cells", cells)
