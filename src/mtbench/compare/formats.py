"""A comparison as a table for people (terminal, Markdown) and as rows for programs (JSON, CSV)."""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from mtbench.compare import Table
from mtbench.compare.row import Row
from mtbench.compare.sides import Measured, Side
from mtbench.console.styles import FAILURE, STYLES, never_fail_on_a_character
from mtbench.errors import ConfigError, unknown
from mtbench.results import certainty
from mtbench.results.cells import differing
from mtbench.results.format import duration, interval, percent, plural, ratio
from mtbench.results.verdicts import VERDICTS, Comparison

FORMATS = ("table", "markdown", "json", "csv")

COLUMNS = ("cell", "arm", "A", "B", "B / A", "verdict")

UNLIMITED = 400  # columns: more than any row has

LAYOUT = 1
"""Of the JSON and CSV forms: raised where a name or its meaning changes, not where one is added."""


def check(name: str) -> None:
    """Raises ConfigError where there is no such format."""
    if name not in FORMATS:
        raise ConfigError(unknown("format", name, FORMATS))


def write(table: Table, name: str) -> None:
    """Prints the comparison to the standard output, in one of FORMATS."""
    if name == "table":
        show(table, Console())
    else:
        print({"markdown": markdown, "json": as_json, "csv": as_csv}[name](table))


def show(table: Table, console: Console) -> None:
    """Prints the comparison for people. Where no terminal limits the width, each row is one line of text."""
    never_fail_on_a_character(console)
    if not console.is_terminal:
        console.width = max(console.width, UNLIMITED)
    wide, narrow = (_drawn(table, one_line) for one_line in (True, False))
    drawn = next((way for way, least in (wide, narrow) if least <= console.width), None) or _stacked(table)
    remarks = [Text(f"note: {one}", style="yellow") for one in [*table.differences, *table.notes]]
    parts: list[RenderableType] = [
        *map(Text, heading(table)),
        *remarks,
        Text(""),
        drawn,
        Text(""),
        Text(summary(table)),
    ]
    console.print(Group(*parts), highlight=False)


def markdown(table: Table) -> str:
    """A table in GitHub's Markdown, with what differs above it and the summary below."""
    lines = [*(f"{line}  " for line in heading(table)), ""]
    remarks = [*map(str, table.differences), *table.notes]
    lines += [*(f"- {line}" for line in remarks), *([""] if remarks else [])]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---|"]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |" for cells in _cells(table)]
    return "\n".join([*lines, "", summary(table)])


def rows(table: Table) -> list[dict[str, Any]]:
    """One flat row for each line of the table. Times are nanoseconds per call; None is what is not known."""
    return [_flat(row) for row in table.rows]


def as_json(table: Table) -> str:
    """Everything, as one JSON object."""
    found = {
        "layout": LAYOUT,
        "a": _side(table.a),
        "b": _side(table.b),
        "metric": table.metric,
        "fail_if_slower": table.limit,
        "differences": [vars(one) for one in table.differences],
        "notes": table.notes,
        "summary": counts(table) | {"geometric_mean": table.geometric_mean, "failures": len(table.failures)},
        "rows": [row | {"params": json.loads(row["params"])} for row in rows(table)],
    }
    return json.dumps(found, indent=1, allow_nan=False)


def as_csv(table: Table) -> str:
    """The rows alone; `params` is JSON, what is not known is empty."""
    text = io.StringIO()
    found = rows(table)
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().rstrip("\n")


def counts(table: Table) -> dict[str, int]:
    """How often each outcome fell; the names are fixed."""
    names = (*VERDICTS, "not compared", "only in A", "only in B")
    return {name: sum(row.outcome == name for row in table.rows) for name in names}


def summary(table: Table) -> str:
    """One line: the outcomes and the mean ratio."""
    found = [f"{count} {name}" for name, count in counts(table).items() if count]
    ratios = sum(row.ratio is not None for row in table.rows)
    mean = table.geometric_mean
    over = f"{ratios} {'ratio' if ratios == 1 else 'ratios'}"
    told = "" if mean is None else f"; geometric mean of {over}: {ratio(mean)}"
    return f"{len(table.rows)} {'row' if len(table.rows) == 1 else 'rows'}: {', '.join(found)}{told}"


def failures(table: Table) -> Iterator[str]:
    """A line for each row that the gate rejects."""
    for cell, row in zip(_titles(table), table.rows, strict=True):
        if row.failure is not None:
            yield ", ".join([cell, f"{row.arms}: {row.failure}", *filter(None, [_ratio(row)])])


def heading(table: Table) -> list[str]:
    """What is compared with what."""
    what = {"latency": "latency", "throughput": "time per queued call", "device": "device time"}[table.metric]
    least = sorted({one.threshold for row in table.rows if (one := row.comparison) and one.threshold is not None})
    ends = dict.fromkeys(map(percent, (least[0], least[-1]))) if least else ()
    within = f"; the least difference that matters is {' to '.join(ends)}" if ends else ""
    return [f"A: {table.a.text}", f"B: {table.b.text}", f"{what}; above 1x, B is the slower one{within}"]


def _drawn(table: Table, one_line: bool) -> tuple[RenderableType, int]:
    """The table for a terminal, and the fewest columns that it needs: that of the cell alone wraps, between words, where each
    interval stands below its estimate because both do not fit on one line."""
    rows = [texts if one_line else [texts[0], *map(_in_lines, texts[1:])] for texts in _cells(table)]
    lines = [
        [text.split(" " if number == 0 and not one_line else "\n") for number, text in enumerate(row)] for row in rows
    ]
    least = [max(map(len, [name, *(line for row in lines for line in row[n])])) for n, name in enumerate(COLUMNS)]
    drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(COLUMNS):
        drawn.add_column(column, no_wrap=number > 0 or one_line, min_width=least[number])
    last = None
    for row, (cell, *others) in zip(table.rows, rows, strict=True):
        style = STYLES.get(row.outcome, "") if row.failure is None else FAILURE
        drawn.add_row(Text("" if cell == last else cell), *map(Text, others[:-1]), Text(others[-1], style=style))
        last = cell
    return drawn, sum(least) + 2 * (len(COLUMNS) - 1)


def _in_lines(text: str) -> str:
    return text.replace(" [", "\n[").replace(" -> ", "\n-> ").replace(" (", "\n(")


def _stacked(table: Table) -> Group:
    """The table where its columns do not fit beside each other: each cell a heading, each row three lines below it."""
    lines: list[Text] = []
    last = None
    for row, (cell, arms, a, b, compared, outcome) in zip(table.rows, _cells(table), strict=True):
        if cell != last:
            lines += [*([Text("")] if lines else []), Text(cell, style="bold")]
        last = cell
        style = STYLES.get(row.outcome, "") if row.failure is None else FAILURE
        times = "   ".join(f"{name} {text}" for name, text in (("A", a), ("B", b)) if text)
        lines += [Text(f" {arms}"), Text(f"   {times}"), Text(f"   {compared} {outcome}".rstrip(), style=style)]
    return Group(*lines)


def _cells(table: Table) -> Iterator[list[str]]:
    """The texts of each row, as in COLUMNS."""
    for cell, row in zip(_titles(table), table.rows, strict=True):
        doubt = "" if row.comparison is None else certainty.doubt(row.comparison)
        yield [cell, row.arms, _time(row.a), _time(row.b), _ratio(row), " ".join(filter(None, [row.outcome, doubt]))]


def _titles(table: Table) -> list[str]:
    """Each row's cell, with those parameters in which the cells of its operator differ."""
    held = [row.held for row in table.rows]
    parameters = {operator: differing(held, operator) for operator in {one.operator for one in held}}
    return [one.title(parameters[one.operator]) for one in held]


def _ratio(row: Row) -> str:
    return "" if row.comparison is None else ratio(row.comparison.ratio, *row.comparison.bounds or ())


def _time(side: Measured | None) -> str:
    """A time with its interval, the status where there is none, nothing where nothing was measured."""
    if side is None:
        return ""
    if side.ns is None:
        return side.record.status if side.record.status != "ok" else "not measured"
    bounds = side.interval
    if bounds is None and side.timing is not None and side.timing.blocks:
        count = len(side.timing.blocks)
        return f"{duration(side.ns)} ({count} {plural(count, 'block')})"
    return duration(side.ns) if bounds is None else interval(side.ns, bounds.low, bounds.high)


def _side(side: Side) -> dict[str, Any]:
    sweeps = sorted({one.record.sweep_id for one in side.measured})
    return {"folder": str(side.folder), "arm": side.arm, "sweep_ids": sweeps}


def _flat(row: Row) -> dict[str, Any]:
    cell = ("operator", "params", "dtype", "batch_size", "seq_len", "kv_len")  # what competes is in the arms' names
    sides = {f"{name}_{key}": value for name, side in (("a", row.a), ("b", row.b)) for key, value in _of(side).items()}
    return {
        "cell_id": row.record.cell_id,
        **{name: getattr(row.held, name) for name in cell},
        **sides,
        "outcome": row.outcome,
        "doubt": None if row.comparison is None else certainty.why_inconclusive(row.comparison),
        **_numbers(row.comparison),
        "failure": row.failure,
    }


def _numbers(found: Comparison | None) -> dict[str, Any]:
    """A comparison in numbers, None for what is not known of it."""
    names = (
        "ratio",
        "ratio_low",
        "ratio_high",
        "ratio_confidence",
        "p_value",
        "pairs",
        "smallest_detectable",
        "threshold",
    )
    if found is None:
        return dict.fromkeys(("kind", *names))
    bounds: tuple[float | None, ...] = (
        (None, None, None) if found.bounds is None else (found.low, found.high, found.confidence)
    )
    tested: tuple[float | None, ...] = (None, None, None, None)
    if found.interleaved:
        tested = (found.p_value, found.pairs, _finite(found.smallest_detectable), found.threshold)
    values = ("paired" if found.interleaved else "descriptive", found.ratio, *bounds, *tested)
    return dict(zip(("kind", *names), values, strict=True))


def _of(side: Measured | None) -> dict[str, Any]:
    bounds = None if side is None else side.interval
    return {
        "arm": None if side is None else side.record.arm,
        "status": None if side is None else side.record.status,
        "ns": None if side is None else side.ns,
        "low_ns": None if bounds is None else bounds.low,
        "high_ns": None if bounds is None else bounds.high,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
