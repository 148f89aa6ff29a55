"""The charts of a report, one file each: a chart is found by its file and drawn for every view of its kind.

A file here without a leading underscore has `OF`, the class of the view that it draws (`mtbench.report.views`), `ORDER`, its
place among the charts of that view, and `draw`, which makes the chart, or None where there is nothing to draw.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from mtbench.report.charts._spec import Spec
from mtbench.report.charts._theme import theme
from mtbench.report.packed import as_rows, packed
from mtbench.report.tables import Metric
from mtbench.report.views import View

__all__ = ["Chart", "drawn", "theme"]


@dataclass(frozen=True)
class Chart:
    """A chart on a page. `name` is unique in a report and names its file; `kind` is the chart's file here; `metric` is None
    where it is not to be chosen. `drawn` is a Vega-Lite specification whose datasets may still be frames."""

    name: str
    kind: str
    metric: Metric | None
    drawn: Spec

    @property
    def spec(self) -> Spec:
        """The specification with its rows, as everything that draws Vega-Lite takes it."""
        return self.drawn | {"datasets": {name: as_rows(found) for name, found in self._datasets.items()}}

    @property
    def packed(self) -> Spec:
        """The specification as a page loads it."""
        return self.drawn | {"datasets": {name: packed(found) for name, found in self._datasets.items()}}

    @property
    def _datasets(self) -> Spec:
        found: Spec = self.drawn.get("datasets", {})
        return found


def drawn(view: View) -> list[Chart]:
    """All charts of a view, in order."""
    found = []
    for module in _modules():
        if isinstance(view, module.OF):
            made: tuple[str, Spec] | None = module.draw(view)
            if made is not None:
                kind = module.__name__.rpartition(".")[2]
                found.append(Chart(made[0], kind, getattr(view, "metric", None), made[1]))
    return found


@cache
def _modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    return sorted((importlib.import_module(f"{__name__}.{name}") for name in names), key=lambda module: module.ORDER)
