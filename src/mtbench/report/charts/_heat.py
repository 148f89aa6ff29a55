"""A map of ratios, coloured by their logarithm, with the ratio and a note written on each cell."""

from typing import Any

import polars as pl

from mtbench.report.charts._spec import Spec, channel, tooltip

REACH = 2  # octaves to either side of 1: a colour means the same ratio in every chart, and beyond 4x all are alike
NOT_PROVED = 0.22
"""How strongly a cell is coloured whose ratio no verdict stands for."""

RATIO_LABEL = f"format(pow(2, datum.value), '.3~r') + 'x' + (abs(datum.value) < {REACH} ? '' : ' and beyond')"

_TOOLTIP = {
    "b": "time of",
    "a": "relative to",
    "shape": "shape",
    "ratio_text": "ratio",
    "bounds": "interval",
    "verdict": "verdict",
    "verdicts": "verdicts",
    "evidence": "evidence",
}


def layers(cells: pl.DataFrame, rule: str, note: str, **axes: Any) -> list[Spec]:
    """The fill, the ratio and the note of each cell that the rule chooses, along these axes."""
    fill = channel(
        "log2_ratio",
        "quantitative",
        scale={"domain": [-REACH, REACH], "domainMid": 0, "clamp": True, "interpolate": "lab"},
        legend={
            "title": "time ratio",
            "labelExpr": RATIO_LABEL,
            "values": list(range(-REACH, REACH + 1)),
            "gradientLength": 110,
            "titlePadding": 10,
            "offset": 24,
        },
    )
    # On a strong fill the page's own ink is not readable.
    proved = "datum.verdict === 'faster' || datum.verdict === 'slower'"
    ink = {"condition": [{"test": f"abs(datum.log2_ratio) > {0.75 * REACH} && ({proved})", "value": "white"}]}
    strength = {"condition": [{"test": proved, "value": 1}], "value": NOT_PROVED}
    chosen = [{"filter": rule}, {"calculate": "log(datum.ratio) / LN2", "as": "log2_ratio"}]
    # The number covers its cell, so it tells the same as the cell where a pointer or a finger meets it.
    words = {"tooltip": tooltip(cells, _TOOLTIP)}
    marks: list[tuple[Spec, Spec]] = [
        ({"type": "rect"}, words | {"color": fill, "opacity": strength}),
        (
            {"type": "text", "dy": -6, "fontSize": 12, "fontWeight": 600},
            words | {"text": channel("ratio_text", "nominal"), "color": ink},
        ),
        ({"type": "text", "dy": 9, "fontSize": 10}, words | {"text": channel(note, "nominal"), "color": ink}),
    ]
    return [{"mark": mark, "transform": chosen, "encoding": axes | encoding} for mark, encoding in marks]


def arms(pair: tuple[str, str]) -> list[Spec]:
    """The signals that choose the two: `arm_a`, the baseline, and `arm_b`."""
    return [{"name": name, "value": label} for name, label in zip(("arm_a", "arm_b"), pair, strict=True)]
