"""The table at the end of a sweep: medians with intervals, cell by cell, with verdicts against the baseline."""

import re
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Group, RenderableType
from rich.text import Text

from mtbench.console.styles import FAILURE, STYLES
from mtbench.results import cells
from mtbench.results.answers.contests import form_names
from mtbench.results.baseline import against_baseline
from mtbench.results.certainty import doubt
from mtbench.results.format import duration, interval, one_line, percent, plural, ratio, tokens
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison

SHOWN_CELLS = 60  # a sweep of thousands belongs in the report

COLUMNS = ("arm", "latency", "throughput", "% of limit", "first token", "decoding", "ratio to the baseline", "")
LIMIT, FIRST, DECODING, RATIO, DOUBT = 3, 4, 5, 6, 7  # the last one says why a verdict is inconclusive
OFTEN_EMPTY = (LIMIT, FIRST, DECODING)  # left out where no row has them
RIGHT = ("throughput", "% of limit", "first token", "decoding")
INDENT = "   "

Row = Sequence[Text]  # one text for each of COLUMNS


def results(records: Sequence[Record], width: int = 80) -> RenderableType:
    """Medians with intervals, sorted into cells, one row per arm in the order measured, each against the cell's baseline.

    Times are for one call; the limit is what the machine's measured peaks allow (`limit_fraction`), left out where it is
    not known. Of texts, there are the time to the first token and the rate of the others. A row without a speed shows its
    status; `problems` gives the reasons. Ratios are those of `comparison.between`, above 1 slower, with its verdict, and why
    there is none. Where a row does not fit on a line, the ratio stands below it; where that does not fit either, so do the
    times.
    """
    every = cells.by_cell(records)
    shown = every[:SHOWN_CELLS]
    sections = {held.section for held, _ in shown}
    found = against_baseline([(held, cell) for held, cell in every if held.section in sections])
    names = form_names(map(vars, records))
    operators = {held.operator for held, _ in shown}
    telling = {operator: cells.differing([held for held, _ in every], operator) for operator in operators}
    tables = [
        (
            held.title(telling[held.operator]),
            [_row(names[r.arm, r.library_version, ""], r, found.get((r.sweep_id, r.job_id))) for r in cell],
        )
        for held, cell in shown
    ]
    heading = [Text(name, style="bold") for name in COLUMNS]
    rows = [row for _, cell_rows in tables for row in cell_rows]
    draw = _layout(heading, rows, width)
    parts: list[RenderableType] = draw(heading)
    for title, cell_rows in tables:
        parts += [Text(""), Text(title, style="bold"), *(line for row in cell_rows for line in draw(row))]
    return Group(*parts)


def _layout(heading: Row, rows: Sequence[Row], width: int) -> Callable[[Row], list[RenderableType]]:
    """How each row is drawn: the first way in which all of them fit."""
    widths = [max(row[column].cell_len for row in [heading, *rows]) for column in range(len(COLUMNS))]
    told = {column for row in rows for column in range(len(COLUMNS)) if row[column].plain}
    every = [column for column in range(len(COLUMNS)) if column in told or column not in OFTEN_EMPTY]
    for gap in (2, 1):
        for beside in (every, every[:-1], every[:-2]):
            gaps = gap * (sum(widths[column] > 0 for column in beside) - 1)
            if sum(widths[column] for column in beside) + gaps <= width:
                return partial(_aligned, widths=widths, beside=beside, gap=gap, width=width)
    return partial(_stacked, columns=every, width=width)


def _aligned(row: Row, widths: Sequence[int], beside: Sequence[int], gap: int, width: int) -> list[RenderableType]:
    """A row on one line, aligned with all others, and its ratio below where it is not beside."""
    line = Text()
    for column in beside:
        pad = " " * (widths[column] - row[column].cell_len)
        right = COLUMNS[column] in RIGHT
        line += Text.assemble(pad if right else "", row[column], "" if right else pad, " " * gap)
    line.rstrip()
    below = [row[column] for column in (RATIO, DOUBT) if column not in beside and row[column].plain]
    return [line, *_wrapped(Text(" ").join(below), width)]


def _stacked(row: Row, columns: Sequence[int], width: int) -> list[RenderableType]:
    """A row on several lines: its name, its times, its ratio."""
    name, *others = (row[column] for column in columns if column < RATIO)
    times, ratio = (Text("  ").join([text for text in each if text.plain]) for each in (others, row[RATIO:]))
    return [*_broken(name, width), *_wrapped(times, width), *_wrapped(ratio, width)]


def _wrapped(text: Text, width: int) -> list[RenderableType]:
    """A text below a row, indented, on as many lines as its words need."""
    if not text.plain:
        return []
    words = text.plain.split(" ")
    lines = [INDENT + words[0]]
    for word in words[1:]:
        fits = len(lines[-1]) + 1 + len(word) <= width
        lines[-1:] = [f"{lines[-1]} {word}"] if fits else [lines[-1], f"{INDENT}  {word}"]
    return [Text(line, style=text.style) for line in lines]


def _broken(name: Text, width: int) -> list[RenderableType]:
    """A name on as many lines as it needs, broken behind a hyphen, an underscore or a space."""
    lines = [""]
    for piece in re.findall(r"[^-_ ]*[-_ ]?", name.plain):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1].strip():
            lines.append(INDENT)
        lines[-1] += piece
    return [Text(line.rstrip(), style=name.style) for line in lines]


def problems(records: Sequence[Record]) -> list[Text]:
    """One line for each status and reason among the records that are not ok, with the arms that it concerns."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status != "ok":
            found.setdefault((record.status, one_line(record.reason or "")), []).append(record)
    lines = []
    for (status, reason), concerned in sorted(found.items()):
        arms = ", ".join(dict.fromkeys(record.arm for record in concerned))
        where = f"{len(concerned)} jobs" if len(concerned) > 1 else cells.held([vars(concerned[0])]).title()
        lines.append(Text.assemble((status, STYLES.get(status, FAILURE)), f" {arms} ({where}): {reason}"))
    return lines


def _row(arm: str, record: Record, found: Comparison | None) -> list[Text]:
    name = Text(f" {arm}")
    if record.latency_ns is None:
        return [name, Text(record.status, style=STYLES.get(record.status, FAILURE)), *[Text("")] * (len(COLUMNS) - 2)]
    latency = _latency(record)
    throughput = "" if record.throughput_ns is None else duration(record.throughput_ns)
    compared, why = Text("baseline" if record.status == "ok" else record.status, style="dim"), Text("")
    if found is not None:
        style = STYLES.get(found.verdict, "")
        compared, why = (
            Text(f"{ratio(found.ratio, *found.bounds or ())} {found.verdict}", style),
            Text(doubt(found), style),
        )
    limit = "" if record.limit_fraction is None else percent(record.limit_fraction)
    first, decoding = "", ""
    if record.decode_tokens_per_s is not None:
        first, decoding = duration(record.time_to_first_token_ns), tokens(record.decode_tokens_per_s)
    return [name, *map(Text, (latency, throughput, limit, first, decoding)), compared, why]


def _latency(record: Record) -> str:
    """The median with its bounds; of blocks so few that nothing bounds it, how many they are."""
    if record.confidence == 0:
        return f"{duration(record.latency_ns)} ({record.rounds} {plural(record.rounds, 'block')})"
    return interval(record.latency_ns, record.latency_low_ns, record.latency_high_ns)
