"""The first page's answers: the sentences of `results.answers`, and every contest as a row of a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mtbench.report.arms import Style, where
from mtbench.report.charts import Chart, drawn
from mtbench.report.tables import LATENCY, THROUGHPUT, Tables
from mtbench.report.views import FrontView
from mtbench.results.answers import (
    BITS,
    COMPILE,
    ENERGY,
    FASTEST,
    PRECISION,
    QUEUED,
    Answer,
    Answers,
    Measured,
    answers,
    words,
)
from mtbench.results.answers.contests import Contest, Duel, Form, Group, Round, duels, told_params
from mtbench.results.answers.regimes import REGIMES
from mtbench.results.certainty import OPEN, SURE, certainty
from mtbench.results.format import duration, interval, natural, slower_or_faster

MOST_ROWS = 60
"""Of the matrix; the pages of operators have every cell."""

SHOWN = 4
"""Answers on a card before the rest is folded."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """One question's answers, `shown` and `folded`."""

    heading: str
    shown: list[Answer]
    folded: list[Answer]


def answered(read: Tables) -> Answers:
    """What the records of a report answer."""
    rows = read.records.to_dicts()
    folders = {row["sweep_id"]: folder for row in rows if (folder := _sweep_folder(row)) is not None}
    timed, queued = (
        [Measured(row, read.timings[metric.name].get(row["row"])) for row in rows] for metric in (LATENCY, THROUGHPUT)
    )
    return answers(timed, folders, queued)


def _sweep_folder(row: Row) -> str | None:
    """The folder of a record's sweep, where the record stands where sweeps put theirs: operator/arm/dtype/shape."""
    parts = str(row["path"]).split("/")
    return "/".join(parts[:-5]) if parts[-5:-3] == [row["operator"], row["arm"]] and len(parts) > 5 else None


def charts(found: Answers, read: Tables, style: dict[str, Style]) -> list[Chart]:
    """The charts of the first page, one for each machine, in the colour of each library's first contender."""
    told = told_params(one.group for one in found.rounds)
    library = dict(read.charted.select("label", "framework").iter_rows())
    colours: dict[str, str] = {}
    for label, one in style.items():
        colours.setdefault(library.get(label, ""), one.colour)
    by_machine: dict[str, list[Duel]] = {}
    for duel in duels(found.rounds):
        by_machine.setdefault(duel.group.machine_id, []).append(duel)
    several = len(by_machine) > 1
    return [
        chart
        for number, (machine, own) in enumerate(by_machine.items(), 1)
        for chart in drawn(
            FrontView(
                f"forest-{number}" if several else "forest",
                own,
                told,
                own[0].group.machine if several else None,
                colours,
                where(read.records.filter(machine_id=machine)),
            )
        )
    ]


def cards(found: Answers) -> list[Card]:
    """A card for each regime that was measured, one for what queued calls or energy answer otherwise, for compiling and for
    dtypes."""
    fastest = [*found.of(BITS), *found.of(FASTEST)]
    by_regime = [(regime.capitalize(), [one for one in fastest if one.group.regime == regime]) for regime in REGIMES]
    others = [
        ("Queued calls", found.of(QUEUED)),
        ("Energy", found.of(ENERGY)),
        ("Compile", found.of(COMPILE)),
        ("Dtype", found.of(PRECISION)),
    ]
    named = {one.group for one in fastest if str(one) in found.headline}
    ordered = [(heading, _first(told, named)) for heading, told in (*by_regime, *others)]
    return [Card(heading, told[:SHOWN], told[SHOWN:]) for heading, told in ordered if told]


def _first(told: Sequence[Answer], named: set[Group]) -> list[Answer]:
    """What the headline is about first, and what is known before what is open."""
    return sorted(told, key=lambda one: (one.group not in named, one.certainty == OPEN))


def matrix(found: Answers, page_names: dict[str, str]) -> tuple[list[Row], int]:
    """Tables of contests, one for each machine and regime, as many rows as MOST_ROWS in all; and how many rows there are.

    A cell has its time, how many times as long as the best it takes, and what is proved of it.
    """
    told = told_params(one.group for one in found.rounds)
    several = len({one.group.machine_id for one in found.rounds}) > 1
    tables: dict[tuple[str, str], Row] = {}
    total = 0
    for one in found.rounds:
        shapes = [contest.shape for contest in one.contests]
        for contest in one.contests:
            total += 1
            if total > MOST_ROWS:
                continue
            heading = f"{one.group.machine}, {one.group.regime}" if several else one.group.regime.capitalize()
            table = tables.setdefault(
                (one.group.machine_id, one.group.regime), {"heading": heading, "rows": [], "arms": []}
            )
            table["rows"].append(_row(one, contest, words.shape_words(contest.shape, shapes), told, page_names))
            table["arms"] += [form.name for form in contest.forms if form.name not in table["arms"]]
    for table in tables.values():
        table["arms"].sort(key=natural)
        table["rows_shown"] = len(table["rows"])
    return list(tables.values()), total


def _row(one: Round, contest: Contest, shape: str, told: dict[str, list[str]], page_names: dict[str, str]) -> Row:
    page = page_names.get(contest.winner.row["page"], "")
    decided = bool(contest.rivals) and all(
        rival.certainty.level == SURE and rival.comparison.verdict == "slower" for rival in contest.rivals
    )
    cells = {form.name: _cell(contest, form, decided, page) for form in contest.forms}
    return {
        "subject": one.group.subject(told[one.group.operator]),
        "dtype": one.group.dtype,
        "shape": shape,
        "cells": cells,
    }


def _cell(contest: Contest, form: Form, decided: bool, page: str) -> Row:
    """`proved`: best, where the winner surely beats every other library, or worse, where it surely beats this form."""
    best = form is contest.winner
    over = contest.over.get(form.name)
    proved = "best" if best and decided else ""
    if over is not None and certainty(over).level == SURE and over.verdict == "slower":
        proved = "worse"
    factor = (
        "" if over is None else slower_or_faster(over.ratio) if over.ratio >= 1 else OPEN
    )  # by rounds, not by medians
    row = form.row
    title = interval(row["latency_ns"], row["latency_low_ns"], row["latency_high_ns"], row["confidence"])
    sure = "" if over is None else f"; {certainty(over)}"
    return {
        "page": page,
        "time": duration(form.ns),
        "factor": "best" if best else factor,
        "best": best,
        "proved": proved,
        "title": f"{form.name}: {title}{sure}",
    }
