"""What the page of each operator shows: for each machine and parameter set its matrices, and the charts of its contenders."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from mtbench.report import pages
from mtbench.report.arms import Style, where
from mtbench.report.charts import Chart, drawn
from mtbench.report.matrix import Matrix, Reason, matrix, newest, reasons
from mtbench.report.ratios import SCHEMA
from mtbench.report.tables import MACHINE, METRICS, SECTION, Tables, held_parameters
from mtbench.report.views import SectionView
from mtbench.results.baseline import LAST_RESORT
from mtbench.results.cells import names_that_differ

Pair = tuple[str, str] | None

Key = tuple[Any, ...]
"""A parameter set: its values of SECTION."""

Sections = Mapping[Key, pl.DataFrame]

Apart = dict[tuple[str, str], tuple[int, int, float]]
"""For two contenders in how many cells they took turns, how many both have, and how far the mean logarithm of their ratio is
from 0."""


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


def operators(
    read: Tables, compared: Mapping[str, pl.DataFrame], names: Mapping[str, str], style: dict[str, Style]
) -> tuple[Pair, list[Operator]]:
    """The pair that a report first compares, and the pages of operators; `compared` has the ratios by each metric, `names` the
    file of each page."""
    both = pl.concat(compared.values())
    kinds: dict[str, tuple[str, str]] = {}
    measured: dict[str, set[str]] = {}
    for page, label, framework, mode in read.charted.select("page", "label", "framework", "mode").iter_rows():
        kinds[label] = framework, mode
        measured.setdefault(page, set()).add(label)
    pair = _first_pair(_apart(both).get((), {}), kinds, list(style))
    apart, on_machine = _apart(both, "page"), _apart(both, "page", MACHINE)
    pages_of = {page: own for (page,), own in read.records.partition_by("page", as_dict=True).items()}
    sections = _by_section(read.records)
    ratios_of = {metric: _by_section(found) for metric, found in compared.items()}
    found = []
    for name, page in names.items():
        here = [label for label in style if label in measured.get(name, ())]
        first = _first_pair(apart.get((name,), {}), kinds, here, wanted=pair)
        there = {machine: each for (page, machine), each in on_machine.items() if page == name}
        firsts = {machine: _first_pair(each, kinds, here, wanted=first) for machine, each in there.items()}
        own = {metric: of_page.get(name, {}) for metric, of_page in ratios_of.items()}
        panels = _panels(sections[name], page.removesuffix(".html"), own, style, firsts)
        found.append(Operator(name, page, pages_of[name], here, first, panels))
    return pair, found


def _by_section(frame: pl.DataFrame) -> dict[str, dict[Key, pl.DataFrame]]:
    """The rows of each section, by page."""
    found: dict[str, dict[Key, pl.DataFrame]] = {}
    for key, own in frame.partition_by(SECTION, as_dict=True, maintain_order=True).items():
        found.setdefault(key[SECTION.index("page")], {})[key] = own
    return found


def _panels(
    records: Sections,
    stem: str,
    compared: Mapping[str, Sections],
    style: dict[str, Style],
    firsts: Mapping[str | None, Pair],
) -> list[Panel]:
    """What each machine measured of an operator: its parameter sets, headed by what differs between them, with their charts;
    `stem` names those, and `firsts` are the pairs that they first compare, of each machine."""
    keys, none = _ordered(records), pl.DataFrame(schema=SCHEMA)
    params_of = [_params(key) for key in keys]
    differing = names_that_differ(params_of)
    found: dict[str | None, list[Section]] = {}
    for number, (key, params) in enumerate(zip(keys, params_of, strict=True), 1):
        said = [f"{name} {pages.as_yaml(params[name])}" for name in differing if name in params]
        heading = ", ".join(said or [f"without {name}" for name in differing])
        title = f"{key[SECTION.index('page')]}{heading and f': {heading}'}"
        own = _with_published(records, key)
        place, counting = where(own), newest(own)
        shown, matrices = [], []
        for metric in METRICS:
            name = f"{stem}-{number}-{metric.name}"
            view = SectionView(
                name, title, metric, own, compared[metric.name].get(key, none), style, firsts.get(key[0]), place
            )
            shown += drawn(view)
            matrices += [made for made in [matrix(view, counting)] if made is not None]
        found.setdefault(key[0], []).append(Section(heading, params, matrices, reasons(counting), shown))
    panels = []
    for machine, own_sections in found.items():
        own = pl.concat(each for key, each in records.items() if key[0] == machine)
        name = "Published by others" if machine is None else own["machine_name"][0]
        panels.append(Panel(name, where(own), own_sections))
    return panels


def _ordered(records: Sections) -> list[Key]:
    """The parameter sets of a page, in a readable order; what others published of one that was measured stands there."""
    measured = {key[1:] for key in records if key[0] is not None}
    own = [key for key in records if key[0] is not None or key[1:] not in measured]
    return sorted(
        own, key=lambda key: (key[0] or "", [_sortable(value) for value in _params(key).values()], str(key[3]))
    )


def _params(key: Key) -> dict[str, Any]:
    return held_parameters(dict(zip(SECTION, key, strict=True)))


def _with_published(records: Sections, key: Key) -> pl.DataFrame:
    """The records of a section, and what others published of the same."""
    there = dict.fromkeys(((None, *key[1:]), key))
    return pl.concat(records[one] for one in there if one in records)


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, (int, float))
    return (not number, float(value) if number else 0.0, str(value))


def _apart(compared: pl.DataFrame, *by: str) -> dict[Key, Apart]:
    """How far each two contenders are apart, for each value of these columns."""
    groups = compared.lazy().group_by(*by, "a", "b")
    found: dict[Key, Apart] = {}
    turns = (pl.col("verdict") != "descriptive").sum().alias("turns")
    for *place, a, b, took, cells, far in (
        groups.agg(turns, pl.len(), pl.col("ratio").log().mean().abs()).collect().iter_rows()
    ):
        found.setdefault(tuple(place), {})[a, b] = (took, cells, far)
    return found


def _first_pair(apart: Apart, kinds: Mapping[str, tuple[str, str]], labels: list[str], wanted: Pair = None) -> Pair:
    """The two contenders that a page compares first: of different libraries, in one mode, with many cells in which they took
    turns, and close; of one machine, and numpy only where there is no other. `kinds` has each one's framework and mode.

    `wanted`, which is what the other pages show, wherever those two have a cell in common.
    """

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, bool, int, int, float]:
        (library_a, mode_a), (library_b, mode_b) = (kinds[label] for label in pair)
        turns, cells, distance = apart[pair]
        last = library_a in LAST_RESORT or library_b in LAST_RESORT
        return last, library_a == library_b, mode_a != mode_b, -turns, -cells, distance

    pairs = [pair for pair in combinations(labels, 2) if pair in apart]
    if wanted in pairs:
        return wanted
    return min(pairs, key=rank, default=None)
