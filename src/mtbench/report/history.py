"""How times changed over versions and dates on each machine, and how machines and versions compare: all of it descriptive."""

import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from mtbench.report.arms import Style, device_name
from mtbench.report.charts import Chart, drawn
from mtbench.report.tables import LATENCY, PLACE, Tables, held_parameters, shape
from mtbench.report.views import HistoryView
from mtbench.results import certainty, comparison, format, history
from mtbench.results.cells import names_that_differ
from mtbench.results.comparison import Timing
from mtbench.results.history import Moment, Step
from mtbench.results.verdicts import Comparison

CONTENDER = ("framework", "mode", "setup", "contender", "variant", "device", "matmul_precision")
"""What a contender is, whatever its version and machine."""

MOST_CELLS = 12
"""Charts beside each other in one drawing; the table has all."""

MOST_ROWS = 400
"""Rows of a table; the largest differences first."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """One contender in one cell on one machine, over versions and dates. `rows` are its records, in the order of `moments`."""

    cell: str
    contender: str
    rows: list[Row]
    moments: list[Moment]
    steps: list[Step]

    @property
    def largest(self) -> float:
        """The largest step's logarithm, 0 where there is none."""
        return max((abs(math.log(step.ratio.estimate)) for step in self.steps), default=0.0)


@dataclass(frozen=True)
class MachineHistory:
    """One machine: its series of several moments, what changed, and the charts. `sessions` counts different dates."""

    name: str
    series: list[Series]
    changes: list[Row]
    charts: list[Chart]


@dataclass(frozen=True)
class Choice:
    """A table of the values of one axis, machines or versions: `columns`, and rows with a time and a ratio for each."""

    heading: str
    columns: list[str]
    rows: list[Row]
    left_out: int


@dataclass(frozen=True)
class History:
    """All of the page; nothing in it where each thing was measured once, on one machine."""

    machines: list[MachineHistory]
    which_machine: list[Choice]
    which_version: list[Choice]

    @property
    def charts(self) -> list[Chart]:
        return [chart for one in self.machines for chart in one.charts]

    @property
    def told(self) -> bool:
        return bool(self.machines or self.which_machine or self.which_version)


def of(read: Tables, styles: Mapping[str, Style]) -> History:
    """The history that these tables hold, of latencies that were measured and verified."""
    timed = read.records.filter(status="ok").filter(pl.col(LATENCY.ns).is_not_null())
    key = ["machine_id", *PLACE, *CONTENDER]
    several = timed.filter(pl.len().over(key) > 1)
    elsewhere = timed.filter(pl.col("machine_id").n_unique().over(*PLACE, *CONTENDER) > 1)
    if several.is_empty() and elsewhere.is_empty():
        return History([], [], [])
    used = pl.concat([several, elsewhere]).unique("row", keep="first").sort("row")
    titles = _titles(used)
    timings = read.timings[LATENCY.name]
    rows = [row | {"timing": timings[row["row"]], "cell": titles[_cell(row)]} for row in used.to_dicts()]
    machines = [
        found
        for number, (_, own) in enumerate(sorted(_grouped(rows, lambda row: (row["machine_id"],)).items()), 1)
        if (found := _machine(number, own, styles)) is not None
    ]
    return History(machines, _which_machine(rows), _which_version(rows))


def _machine(number: int, rows: Sequence[Row], styles: Mapping[str, Style]) -> MachineHistory | None:
    groups = _grouped(rows, lambda row: (_cell(row), *(row[name] for name in CONTENDER)))
    series = [_series(own) for own in groups.values() if len(own) > 1]
    if not series:
        return None
    series.sort(key=lambda one: (-one.largest, one.cell, one.contender))
    name = rows[0]["machine_name"]
    changes = [_change(one, step) for one in series for step in one.steps]
    changes.sort(key=lambda row: -abs(math.log(row["ratio"])))
    charts = []
    pages = dict.fromkeys(one.rows[0]["page"] for one in series)
    for count, page in enumerate(pages, 1):
        own = [one for one in series if one.rows[0]["page"] == page]
        cells = list(dict.fromkeys(one.cell for one in own))
        drawn_series = [one for one in own if one.cell in cells[:MOST_CELLS]]
        every = history.ordered([moment for one in drawn_series for moment in one.moments])
        place = {when: number for number, when in enumerate(dict.fromkeys(map(_when, every)))}
        shown = [point for one in drawn_series for point in _points(one, styles, place)]
        view = HistoryView(f"history-{number}-{count}", page, name, len(cells), shown)
        charts += drawn(view)
    return MachineHistory(name, series, changes, charts)


def _series(rows: Sequence[Row]) -> Series:
    pairs = [(_moment(row), row) for row in rows]
    order = history.ordered([moment for moment, _ in pairs])
    by_moment = {id(moment): row for moment, row in pairs}
    sorted_rows = [by_moment[id(moment)] for moment in order]
    return Series(rows[0]["cell"], _contender(rows[0]), sorted_rows, order, history.steps(order))


def _moment(row: Row) -> Moment:
    machine = json.loads(row["machine"])
    drivers = sorted({str(gpu["driver"]) for gpu in machine.get("gpus") or [] if gpu.get("driver")})
    known = {
        **{name: row.get(name) for name in history.FACTS},
        "os_version": machine.get("os_version"),
        "driver": ", ".join(drivers) or None,
    }
    facts = {name: str(value) for name, value in known.items() if value not in (None, "")}
    return Moment(row["timing"], row["finished_at"], row["library_version"], facts)


def _change(one: Series, step: Step) -> Row:
    before, after = one.moments[step.index - 1], one.moments[step.index]
    ratio = step.ratio
    return {
        "cell": one.cell,
        "contender": one.contender,
        "page": one.rows[0]["page"],
        "ratio": ratio.estimate,
        "text": format.ratio(ratio.estimate, ratio.low, ratio.high),
        "before": f"{_when(before)}: {format.duration(before.timing.ns)}",
        "after": f"{_when(after)}: {format.duration(after.timing.ns)}",
        "changed": ", ".join(step.changed) or "nothing that the records tell",
    }


def _points(one: Series, styles: Mapping[str, Style], place: Mapping[str, int]) -> Iterator[Row]:
    stepped = {step.index: step for step in one.steps}
    for index, (moment, row) in enumerate(zip(one.moments, one.rows, strict=True)):
        interval, step = moment.interval, stepped.get(index)
        style = styles.get(row["label"])
        bounds = (interval.low, interval.high) if interval.confidence else (None, None)
        yield {
            "cell": one.cell,
            "contender": one.contender,
            "framework": row["framework"],
            "colour": style.colour if style else "#7a7a7a",
            "at": moment.at,
            "when": f"{row['framework']} {_when(moment)}",
            "place": place[_when(moment)],
            "ns": moment.timing.ns,
            "low_ns": bounds[0],
            "high_ns": bounds[1],
            "time": format.interval(moment.timing.ns, *bounds),
            "step": None if step is None else format.ratio(step.ratio.estimate),
            "changed": "" if step is None else ", ".join(step.changed),
        }


def _which_machine(rows: Sequence[Row]) -> list[Choice]:
    """Each contender in each cell on all machines that measured it, the newest record of each."""

    def named(row: Row) -> str:
        return f"{row['machine_name']}, {device_name(row)}"

    found = _choice("", rows, lambda row: (_cell(row), *(row[name] for name in CONTENDER)), "machine_id", named)
    return [found] if found.rows else []


def _which_version(rows: Sequence[Row]) -> list[Choice]:
    """Each contender in each cell in all versions of its library, for each machine and library."""
    known = [row for row in rows if row["library_version"]]
    found = []
    for (_, framework), own in sorted(_grouped(known, lambda row: (row["machine_id"], row["framework"])).items()):
        heading = f"{framework}, {own[0]['machine_name']}"
        one = _choice(
            heading,
            own,
            lambda row: (_cell(row), *(row[name] for name in CONTENDER)),
            "library_version",
            lambda row: str(row["library_version"]),
        )
        found += [one] if one.rows else []
    return found


def _choice(
    heading: str,
    rows: Sequence[Row],
    key: Callable[[Row], Hashable],
    axis: str,
    named: Callable[[Row], str],
) -> Choice:
    """Rows of `key`, columns of `axis`, each with its newest time, and its ratio to the first column that the row has."""
    groups = [own for own in _grouped(rows, key).values() if len({row[axis] for row in own}) > 1]
    columns = _columns([row for own in groups for row in own], axis, named)
    families: list[tuple[Hashable, Comparison]] = []
    cells: list[tuple[Row, dict[str, Timing], list[str]]] = []
    for own in groups:
        timings: dict[str, list[Timing]] = {}
        for row in sorted(own, key=lambda row: (row["finished_at"] is not None, row["finished_at"])):
            timings.setdefault(columns[row[axis]], []).append(row["timing"])
        names = [name for name in columns.values() if name in timings]
        pairs = {name: comparison.newest_pair(timings[names[0]], timings[name]) for name in names[1:]}
        families += [
            ((own[0]["page"], name, _contender(own[0])), comparison.against(*pairs[name])) for name in names[1:]
        ]
        newest = {names[0]: timings[names[0]][-1]} | {name: pair[1] for name, pair in pairs.items()}
        cells.append((own[0], newest, names))
    judged = iter(comparison.judged(families))
    found = [_choice_row(row, newest, names, [next(judged) for _ in names[1:]]) for row, newest, names in cells]
    found.sort(key=lambda row: (-row["largest"], row["cell"], row["contender"]))
    return Choice(heading, list(columns.values()), found[:MOST_ROWS], max(0, len(found) - MOST_ROWS))


def _columns(rows: Sequence[Row], axis: str, named: Callable[[Row], str]) -> dict[str, str]:
    """The values of an axis and what they are called, versions in their order, never two alike."""
    values = {row[axis]: named(row) for row in rows}
    moments = {value: Moment(row["timing"], None, row["library_version"]) for row in rows for value in [row[axis]]}
    order = (
        sorted(values)
        if axis != "library_version"
        else [m.version or "" for m in history.ordered(list(moments.values()))]
    )
    alike = {name for name in values.values() if list(values.values()).count(name) > 1}
    return {value: f"{values[value]} ({value[:6]})" if values[value] in alike else values[value] for value in order}


def _choice_row(row: Row, newest: Mapping[str, Timing], names: Sequence[str], found: Sequence[Comparison]) -> Row:
    told = {
        names[0]: {"ns": newest[names[0]].ns, "time": format.duration(newest[names[0]].ns), "ratio": "", "verdict": ""}
    }
    for name, one in zip(names[1:], found, strict=True):
        told[name] = {
            "ns": newest[name].ns,
            "time": format.duration(newest[name].ns),
            "ratio": format.ratio(one.ratio, *one.bounds or ()),
            "verdict": certainty.outcome(one),
        }
    return {
        "cell": row["cell"],
        "contender": _contender(row),
        "page": row["page"],
        "told": told,
        "largest": max(abs(math.log(one.ratio)) for one in found),
    }


def _titles(rows: pl.DataFrame) -> dict[tuple[Any, ...], str]:
    """Each cell in a line, with the parameters that tell it from others of its page."""
    cells = rows.select(*PLACE).unique().to_dicts()
    by_page: dict[str, list[Row]] = {}
    for cell in cells:
        by_page.setdefault(cell["page"], []).append(cell)
    found = {}
    for page, own in by_page.items():
        differing = [name for name in names_that_differ([held_parameters(cell) for cell in own]) if name != "kv_len"]
        for cell in own:
            params = held_parameters(cell)
            told = [f"{name} {params[name]}" for name in differing if name in params]
            found[_cell(cell)] = ", ".join([page, shape(cell), *told])
    return found


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in PLACE)


def _contender(row: Mapping[str, Any]) -> str:
    name = row["framework"] if row["mode"] == "eager" else f"{row['framework']} {row['mode']}"
    variant = None if row["variant"] in ("native", "portable") else row["variant"]
    precision = "TF32" if row["matmul_precision"] == "tf32" else None
    return " · ".join(
        str(part) for part in (name, row["setup"], row["contender"], variant, row["device"], precision) if part
    )


def _when(moment: Moment) -> str:
    day = f"{moment.at:%Y-%m-%d}" if isinstance(moment.at, datetime) else ""
    return ", ".join(filter(None, (moment.version, day)))


def _grouped(rows: Sequence[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
