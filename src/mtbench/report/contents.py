"""What a report shows, before anything is written: who is compared, in which sections, with which charts."""

from dataclasses import dataclass
from typing import Any

from mtbench.report import front, pages, roofline
from mtbench.report.arms import Style, styles, where
from mtbench.report.charts import Chart, drawn
from mtbench.report.operators import Operator, Pair, operators
from mtbench.report.ratios import ratios
from mtbench.report.tables import METRICS, Tables
from mtbench.report.views import LimitsView, MachineView
from mtbench.results.answers import Answers


@dataclass(frozen=True)
class Limits:
    """What shares its measured limits, with the rows of its table: those of `roofline.bars`."""

    heading: str
    charts: list[Chart]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Contents:
    """All of a report. `labels` are the contenders that can be compared, without those drawn hollow; `page_names` has the file
    of each operator's page."""

    styles: dict[str, Style]
    labels: list[str]
    pair: Pair
    page_names: dict[str, str]
    answers: Answers
    front: list[Chart]
    operators: list[Operator]
    limits: list[Limits]
    machines: list[Chart]

    @property
    def charts(self) -> list[Chart]:
        found = list(self.front)
        for operator in self.operators:
            found += operator.charts
        return found + [chart for one in self.limits for chart in one.charts] + self.machines


def contents(read: Tables) -> Contents:
    """What a report of these tables shows."""
    style = styles(read.drawn)
    names = pages.page_names(read.records["page"].unique().sort())
    compared = {metric.name: ratios(read, metric, list(style)) for metric in METRICS}
    pair, found = operators(read, compared, names, style)
    answers = front.answered(read)
    limits = [
        Limits(ground.heading, drawn(LimitsView(ground, style, where(ground.records))), ground.bars.to_dicts())
        for ground in roofline.grounds(read.drawn)
    ]
    by_machine = read.records.sort("machine_id", maintain_order=True).partition_by("machine_id", maintain_order=True)
    views = [MachineView(f"machine-{number}", one, where(one)) for number, one in enumerate(by_machine, 1)]
    machines = [chart for view in views for chart in drawn(view)]
    measured = set(read.charted["label"])
    labels = [label for label in style if label in measured]
    return Contents(style, labels, pair, names, answers, front.charts(answers, read, style), found, limits, machines)
