"""What a report shows, before anything is written: who is compared, in which sections, with which charts."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report import pages, roofline, tables
from mtbench.report.arms import Style, device_name, machine_name, styles
from mtbench.report.charts import Chart, drawn
from mtbench.report.front import answered
from mtbench.report.ratios import ratios
from mtbench.report.tables import METRICS, Tables
from mtbench.report.views import FrontView, LimitsView, MachineView, SectionView
from mtbench.results.answers import Answers
from mtbench.results.answers.contests import duels, told_params
from mtbench.results.baseline import LAST_RESORT
from mtbench.results.cells import names_that_differ
from mtbench.results.comparison import geometric_mean

Pair = tuple[str, str] | None


@dataclass(frozen=True)
class Section:
    """One parameter set of an operator, with the charts that hold it and nothing else."""

    heading: str
    params: dict[str, Any]
    charts: list[Chart]


@dataclass(frozen=True)
class Operator:
    """One operator's page: its records, and of the contenders that were measured there the pair that it first compares."""

    name: str
    page: str
    records: pl.DataFrame
    labels: list[str]
    pair: Pair
    sections: list[Section]


@dataclass(frozen=True)
class Limits:
    """What shares its measured limits, with the rows of its table."""

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
            found += [chart for section in operator.sections for chart in section.charts]
        return found + [chart for one in self.limits for chart in one.charts] + self.machines


def contents(read: Tables) -> Contents:
    """What a report of these tables shows."""
    style = styles(read.drawn)
    compared = {metric.name: ratios(read, metric, list(style)) for metric in METRICS}
    measured = set(read.charted["label"])
    both = pl.concat(compared.values())
    pair = _first_pair(read.charted, both, list(style))
    names = pages.page_names(read.records["page"].unique().sort())
    operators = []
    for name, page in names.items():
        records, charted = (frame.filter(page=name) for frame in (read.records, read.charted))
        here = [label for label in style if label in charted["label"]]
        first = _first_pair(charted, both.filter(page=name), here, wanted=pair)
        sections = _sections(records, page.removesuffix(".html"), compared, style, first)
        operators.append(Operator(name, page, records, here, first, sections))
    found = answered(read)
    front = _front(found, read, style)
    labels = [label for label in style if label in measured]
    return Contents(
        style, labels, pair, names, found, front, operators, _limits(read.drawn, style), _machines(read.records)
    )


def _machines(records: pl.DataFrame) -> list[Chart]:
    """What each machine told while it measured."""
    ids = records["machine_id"].unique().sort().to_list()
    own = [records.filter(machine_id=one) for one in ids]
    views = [MachineView(f"machine-{number}", one, where(one)) for number, one in enumerate(own, 1)]
    return [chart for view in views for chart in drawn(view)]


def _sections(
    records: pl.DataFrame,
    stem: str,
    compared: dict[str, pl.DataFrame],
    style: dict[str, Style],
    pair: Pair,
) -> list[Section]:
    """Each parameter set of an operator, headed by what differs between them, with its charts; `stem` names those."""
    sets = tables.sections(records)
    differing = names_that_differ([tables.held_parameters(one) for one in sets])
    found = []
    for number, one in enumerate(sets, 1):
        params = tables.held_parameters(one)
        said = [f"{name} {pages.as_yaml(params[name])}" for name in differing if name in params]
        heading = ", ".join(said or [f"without {name}" for name in differing])
        title = f"{one['page']}{heading and f': {heading}'}"
        own = tables.of_section(records, one)
        shown = []
        for metric in METRICS:
            ratios = tables.of_section(compared[metric.name], one)
            name = f"{stem}-{number}-{metric.name}"
            shown += drawn(SectionView(name, title, metric, own, ratios, style, pair, where(own)))
        found.append(Section(heading, params, shown))
    return found


def _front(found: Answers, read: Tables, style: dict[str, Style]) -> list[Chart]:
    """The charts of the first page, in the colour of each library's first contender."""
    told = told_params(one.group for one in found.rounds)
    library = dict(read.charted.select("label", "framework").iter_rows())
    colours: dict[str, str] = {}
    for label, one in style.items():
        colours.setdefault(library.get(label, ""), one.colour)
    several = len({one.group.machine_id for one in found.rounds}) > 1
    return drawn(FrontView(duels(found.rounds), told, several, colours, where(read.records)))


def _limits(drawn_records: pl.DataFrame, style: dict[str, Style]) -> list[Limits]:
    found = []
    for ground in roofline.grounds(drawn_records):
        charts = drawn(LimitsView(ground, style, where(ground.records)))
        found.append(Limits(ground.heading, charts, ground.listed))
    return found


def _first_pair(charted: pl.DataFrame, compared: pl.DataFrame, labels: list[str], wanted: Pair = None) -> Pair:
    """The two contenders that a page compares first: of different libraries, in one mode, with many cells, and close; of one
    machine, and numpy only where there is no other.

    `wanted`, which is what the other pages show, wherever those two have a cell in common.
    """
    columns = ("framework", "mode", "machine_id")
    framework, mode, machine = (dict(charted.select("label", name).iter_rows()) for name in columns)

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, bool, bool, int, float]:
        a, b = pair
        last = framework[a] in LAST_RESORT or framework[b] in LAST_RESORT
        ratios = compared.filter(a=a, b=b)["ratio"].to_list()
        apart = abs(math.log(geometric_mean(ratios) or 1.0))
        alone = machine[a] != machine[b], last, framework[a] == framework[b], mode[a] != mode[b]
        return *alone, -len(ratios), apart

    pairs = [(a, b) for a, b in combinations(labels, 2) if len(compared.filter(a=a, b=b))]
    if wanted in pairs:
        return wanted
    return min(pairs, key=rank, default=None)


def where(records: pl.DataFrame) -> str:
    """The machines behind records and their devices, in a few words."""
    columns = ["machine", "machine_id", "device", "device_kind", "device_name"]
    ran = records.filter(status="ok").select(columns).unique(columns[1:]).to_dicts()
    devices: dict[str, set[str]] = {}
    for row in ran:
        devices.setdefault(machine_name(row["machine"], row["machine_id"]), set()).add(device_name(row))
    words = [f"{machine}, {' and '.join(sorted(found))}" for machine, found in sorted(devices.items())]
    if not words:
        return "Nothing was measured."
    return f"On {'; '.join(words)}." if len(words) <= 3 else f"On {len(words)} machines."
