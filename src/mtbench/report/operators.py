"""What the page of each operator shows: for each machine and parameter set its matrices, and the charts of its contenders."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report import pages
from mtbench.report.arms import Style, machine_name, where
from mtbench.report.charts import Chart, drawn
from mtbench.report.matrix import Matrix, Reason, matrix, reasons
from mtbench.report.ratios import ratios
from mtbench.report.tables import MACHINE, METRICS, SECTION, Tables, held_parameters
from mtbench.report.views import SectionView
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


def operators(read: Tables, names: Mapping[str, str], style: dict[str, Style]) -> tuple[Pair, list[Operator]]:
    """The pair that a report first compares, and the pages of operators; `names` has the file of each."""
    compared = {metric.name: ratios(read, metric, list(style)) for metric in METRICS}
    pair = _first_pair(read.charted, pl.concat(compared.values()), list(style))
    machines = _machine_names(read.records)
    records_by_page = _by_page(read.records)
    compared_by_page = {metric: _by_page(found) for metric, found in compared.items()}
    found = []
    for name, page in names.items():
        records = records_by_page[name]
        charted = records.filter("charted")
        own = {metric: pairs.get(name, compared[metric].clear()) for metric, pairs in compared_by_page.items()}
        here = [label for label in style if label in set(charted["label"])]
        first = _first_pair(charted, pl.concat(own.values()), here, wanted=pair)
        panels = _panels(records, page.removesuffix(".html"), own, style, first, machines)
        found.append(Operator(name, page, records, here, first, panels))
    return pair, found


def _machine_names(records: pl.DataFrame) -> dict[str, str]:
    """Each machine's name by its identity: its chip, and where several have the same chip, the identity's beginning."""
    known = records.select("machine_id", "machine").unique("machine_id", keep="first", maintain_order=True).rows()
    chips = {one: machine_name(machine, one) for one, machine in known}
    counts = Counter(chips.values())
    return {one: chip if counts[chip] == 1 else f"{chip} ({one[:6]})" for one, chip in chips.items()}


def _by_page(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(page): own for (page,), own in frame.partition_by("page", as_dict=True, maintain_order=True).items()}


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
    sets = _sections(records)
    params_of = [held_parameters(one) for one in sets]
    differing = names_that_differ(params_of)
    found: dict[str | None, list[Section]] = {}
    for number, (one, params) in enumerate(zip(sets, params_of, strict=True), 1):
        said = [f"{name} {pages.as_yaml(params[name])}" for name in differing if name in params]
        heading = ", ".join(said or [f"without {name}" for name in differing])
        title = f"{one['page']}{heading and f': {heading}'}"
        own = _of_section(records, one)
        place = where(own)
        shown, matrices = [], []
        for metric in METRICS:
            ratios = _of_section(compared[metric.name], one)
            name = f"{stem}-{number}-{metric.name}"
            view = SectionView(name, title, metric, own, ratios, style, pair, place)
            shown += drawn(view)
            matrices += [made for made in [matrix(view)] if made is not None]
        section = Section(heading, params, matrices, reasons(own), shown)
        found.setdefault(one[MACHINE], []).append(section)
    return [
        Panel(
            machines.get(machine or "", "Published by others"),
            where(records.filter(pl.col(MACHINE).eq_missing(pl.lit(machine, dtype=pl.String)))),
            own_sections,
        )
        for machine, own_sections in found.items()
    ]


def _sections(records: pl.DataFrame) -> list[dict[str, Any]]:
    """The distinct parameter sets on one page, as rows of SECTION, in a readable order."""
    found = records.select(*SECTION).unique().to_dicts()
    measured = {tuple(s[name] for name in SECTION[1:]) for s in found if s[MACHINE] is not None}
    own = [s for s in found if s[MACHINE] is not None or tuple(s[name] for name in SECTION[1:]) not in measured]
    return sorted(
        own, key=lambda s: (s[MACHINE] or "", [_sortable(v) for v in held_parameters(s).values()], s["held_params"])
    )


def _of_section(frame: pl.DataFrame, section: dict[str, Any]) -> pl.DataFrame:
    """The rows of a section, and what others published of the same."""
    here = pl.col(MACHINE).is_null() | (pl.col(MACHINE) == pl.lit(section[MACHINE], dtype=pl.String))
    return frame.filter(here, *(pl.col(name).eq_missing(pl.lit(section[name])) for name in SECTION[1:]))


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, (int, float))
    return (not number, float(value) if number else 0.0, str(value))


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
