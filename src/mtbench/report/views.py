"""The data that a chart draws: one section of a page, all of a report, or records with the same measured limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mtbench.report.arms import Style
from mtbench.report.roofline import Ground
from mtbench.report.tables import Metric
from mtbench.results.answers.contests import Duel, Shape


@dataclass(frozen=True)
class SectionView:
    """One parameter set of an operator in one metric: its records, and the `ratios` of its contenders.

    `name` is unique in a report; `pair` is what a page compares first, None where no two contenders have a cell in common.
    `where` says on which machine.
    """

    name: str
    title: str
    metric: Metric
    records: pl.DataFrame
    ratios: pl.DataFrame
    styles: Mapping[str, Style]
    pair: tuple[str, str] | None
    where: str


@dataclass(frozen=True)
class FrontView:
    """All that one machine measured: every library against one, cell by cell. `name` is unique in a report. `told` are the
    parameters that tell an operator's cells apart, `machine` its name where there are several, `colours` those of libraries."""

    name: str
    duels: Sequence[Duel]
    told: Mapping[str, Sequence[str]]
    machine: str | None
    colours: Mapping[str, str]
    where: str

    @property
    def shapes(self) -> list[Shape]:
        return [one.shape for one in self.duels]


@dataclass(frozen=True)
class LimitsView:
    """What shares its roofs: one device, dtype and precision of a machine."""

    ground: Ground
    styles: Mapping[str, Style]
    where: str


@dataclass(frozen=True)
class MachineView:
    """All records of one machine. `name` is unique in a report."""

    name: str
    records: pl.DataFrame
    where: str


@dataclass(frozen=True)
class HistoryView:
    """One operator on one machine over versions and dates: a point for each record, those of the cells that changed most.

    `cells` is how many there are in all. `name` is unique in a report.
    """

    name: str
    operator: str
    where: str
    cells: int
    points: Sequence[Mapping[str, Any]]


View = SectionView | FrontView | LimitsView | MachineView | HistoryView
