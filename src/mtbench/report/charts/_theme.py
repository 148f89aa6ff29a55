"""The colours of a page's charts, light and dark; those of contenders are their styles', since they must not change."""

from typing import Any

_INK = {
    "light": {"text": "#1f2328", "muted": "#59636e", "grid": "#e4e8ec", "middle": "#f3f3f1"},
    "dark": {"text": "#e6e9ec", "muted": "#9aa4ae", "grid": "#2d333b", "middle": "#2b3037"},
}
# Blue against orange is told apart in every common colour blindness; the middle is nearly the page itself.
_ENDS = {"light": ("#2166ac", "#b35806"), "dark": ("#2f7fc9", "#c7670f")}


def theme(name: str) -> dict[str, Any]:
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
