"""What a report shows, before anything is written: who is compared, in which sections, with which charts."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report import pages, roofline, tables
from mtbench.report.arms import Style, device_name, machine_name, styles
from mtbench.report.charts import Chart, drawn
from mtbench.report.front import answered
from mtbench.report.matrix import Matrix, Reason, matrix, reasons
from mtbench.report.ratios import ratios
from mtbench.report.tables import METRICS, Tables
from mtbench.report.views import FrontView, LimitsView, MachineView, SectionView
from mtbench.results.answers import Answers
from mtbench.results.answers.contests import duels, told_params
from mtbench.results.baseline import LAST_RESORT
from mtbench.results.cells import names_that_differ

Pair = tuple[str, str] | None


@dataclass(frozen=True)
class Section:
    """One parameter set of an operator on one machine: its matrix of verdicts in each metric, why jobs have no result, and the
    charts that hold it and nothing else."""

    heading: str
    params: dict[str, Any]
    matrices: list[Matrix]
    reasons: list[Reason]
    charts: list[Chart]


@dataclass(frozen=True)
class Panel:
    """What one machine measured of an operator."""

    machine: str
    where: str
    sections: list[Section]


@dataclass(frozen=True)
class Operator:
    """One operator's page: its records, and of the contenders that were measured there the pair that it first compares."""

    name: str
    page: str
    records: pl.DataFrame
    labels: list[str]
    pair: Pair
    panels: list[Panel]

    @property
    def charts(self) -> list[Chart]:
        return [chart for panel in self.panels for section in panel.sections for chart in section.charts]


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
    compared = {metric.name: ratios(read, metric, list(style)) for metric in METRICS}
    measured = set(read.charted["label"])
    both = pl.concat(compared.values())
    pair = _first_pair(read.charted, both, list(style))
    machines = machine_names(read.records)
    names = pages.page_names(read.records["page"].unique().sort())
    by_page = _by_page(read.records)
    compared_by_page = {metric: _by_page(found) for metric, found in compared.items()}
    operators = []
    for name, page in names.items():
        records = by_page[name]
        charted = records.filter("charted")
        own = {metric: found.get(name, compared[metric].clear()) for metric, found in compared_by_page.items()}
        here = [label for label in style if label in set(charted["label"])]
        first = _first_pair(charted, pl.concat(own.values()), here, wanted=pair)
        panels = _panels(records, page.removesuffix(".html"), own, style, first, machines)
        operators.append(Operator(name, page, records, here, first, panels))
    found = answered(read)
    front = _front(found, read, style)
    labels = [label for label in style if label in measured]
    return Contents(
        style, labels, pair, names, found, front, operators, _limits(read.drawn, style), _machines(read.records)
    )


def machine_names(records: pl.DataFrame) -> dict[str, str]:
    """Each machine's name by its identity: its chip, and where several have the same chip, the identity's beginning."""
    known = records.select("machine_id", "machine").unique("machine_id", keep="first", maintain_order=True).rows()
    chips = {one: machine_name(machine, one) for one, machine in known}
    counts = Counter(chips.values())
    return {one: chip if counts[chip] == 1 else f"{chip} ({one[:6]})" for one, chip in chips.items()}


def _by_page(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(page): own for (page,), own in frame.partition_by("page", as_dict=True, maintain_order=True).items()}


def _machines(records: pl.DataFrame) -> list[Chart]:
    """What each machine told while it measured."""
    ids = records["machine_id"].unique().sort().to_list()
    own = [records.filter(machine_id=one) for one in ids]
    views = [MachineView(f"machine-{number}", one, where(one)) for number, one in enumerate(own, 1)]
    return [chart for view in views for chart in drawn(view)]


def _panels(
    records: pl.DataFrame,
    stem: str,
    compared: dict[str, pl.DataFrame],
    style: dict[str, Style],
    pair: Pair,
    machines: dict[str, str],
) -> list[Panel]:
    """What each machine measured of an operator: its parameter sets, headed by what differs between them, with their charts;
    `stem` names those."""
    sets = tables.sections(records)
    differing = names_that_differ([tables.held_parameters(one) for one in sets])
    found: dict[str | None, list[Section]] = {}
    for number, one in enumerate(sets, 1):
        params = tables.held_parameters(one)
        said = [f"{name} {pages.as_yaml(params[name])}" for name in differing if name in params]
        heading = ", ".join(said or [f"without {name}" for name in differing])
        title = f"{one['page']}{heading and f': {heading}'}"
        own = tables.of_section(records, one)
        place = where(own)
        shown, matrices = [], []
        for metric in METRICS:
            ratios = tables.of_section(compared[metric.name], one)
            name = f"{stem}-{number}-{metric.name}"
            view = SectionView(name, title, metric, own, ratios, style, pair, place)
            shown += drawn(view)
            matrices += [made for made in [matrix(view)] if made is not None]
        section = Section(heading, params, matrices, reasons(own), shown)
        found.setdefault(one[tables.MACHINE], []).append(section)
    return [
        Panel(
            machines.get(machine or "", "Published by others"),
            where(records.filter(pl.col(tables.MACHINE).eq_missing(pl.lit(machine, dtype=pl.String)))),
            own_sections,
        )
        for machine, own_sections in found.items()
    ]


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
        found.append(Limits(ground.heading, charts, ground.bars.to_dicts()))
    return found


def _first_pair(charted: pl.DataFrame, compared: pl.DataFrame, labels: list[str], wanted: Pair = None) -> Pair:
    """The two contenders that a page compares first: of different libraries, in one mode, with many cells, and close; of one
    machine, and numpy only where there is no other.

    `wanted`, which is what the other pages show, wherever those two have a cell in common.
    """
    framework, mode = (dict(charted.select("label", name).iter_rows()) for name in ("framework", "mode"))
    means = {
        (a, b): (cells, apart)
        for a, b, cells, apart in compared.group_by("a", "b")
        .agg(pl.len().alias("cells"), pl.col("ratio").log().mean().abs().alias("apart"))
        .iter_rows()
    }

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, bool, int, float]:
        a, b = pair
        cells, apart = means[pair]
        last = framework[a] in LAST_RESORT or framework[b] in LAST_RESORT
        return last, framework[a] == framework[b], mode[a] != mode[b], -cells, apart

    pairs = [pair for pair in combinations(labels, 2) if pair in means]
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
