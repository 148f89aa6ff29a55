"""The table at the end of a sweep: medians with intervals, cell by cell, with verdicts against the baseline."""

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from mtbench.console.styles import FAILURE, STYLES
from mtbench.results import cells
from mtbench.results.baseline import against_baseline
from mtbench.results.format import duration, interval, one_line, percent, ratio
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison

SHOWN_CELLS = 60  # a sweep of thousands belongs in the report

COLUMNS = ("arm", "latency", "throughput", "% of limit", "ratio to the baseline")
NARROWEST = 12  # to which names and ratios are wrapped
RATIO_ALONE = 21  # of "1.200x [1.150, 1.250]", with the verdict on a line of its own


def results(records: Sequence[Record], width: int = 80) -> RenderableType:
    """Medians with intervals, sorted into cells, one row per arm in the order measured, each against the cell's baseline.

    Times are for one call; the limit is what the machine's measured peaks allow (`limit_fraction`), left out where it is
    not known or the console too narrow. A row without a speed shows its status; `problems` gives the reasons. Ratios are
    those of `comparison.between`, above 1 slower, with its verdict.
    """
    every = cells.by_cell(records)
    shown = every[:SHOWN_CELLS]
    sections = {held.section for held, _ in shown}
    found = against_baseline([(held, cell) for held, cell in every if held.section in sections])
    names = _names(records)
    operators = {held.operator for held, _ in shown}
    telling = {operator: cells.differing([held for held, _ in every], operator) for operator in operators}
    tables = [
        (
            held.title(telling[held.operator]),
            [_row(names[r.job_id], r, found.get((r.sweep_id, r.job_id))) for r in cell],
        )
        for held, cell in shown
    ]
    rows = [row for _, cell_rows in tables for row in cell_rows]
    widths = [max([len(name), *(row[column].cell_len for row in rows)]) for column, name in enumerate(COLUMNS)]
    least = 2 * NARROWEST + sum(widths[1:-1]) + len(widths) - 1
    if least > width or not any(record.limit_fraction for _, cell in shown for record in cell):
        widths[COLUMNS.index("% of limit")] = 0
    parts: list[RenderableType] = [_columns(widths, width, [Text(name, style="bold") for name in COLUMNS])]
    for heading, cell_rows in tables:
        parts += [Text(""), Text(heading, style="bold"), _columns(widths, width, *cell_rows)]
    return Group(*parts)


def _columns(widths: Sequence[int], width: int, *rows: Sequence[Text]) -> Table:
    """Rows aligned with those of other cells; a column of width 0 is left out. Where they don't fit, names and ratios wrap
    first, times last."""
    gaps = sum(size > 0 for size in widths) - 1
    gap = 2 if sum(widths) + 2 * gaps <= width else 1
    arm, *numbers, ratio = widths
    arm = min(arm, max(width - sum(numbers) - min(ratio, RATIO_ALONE) - gaps * gap, NARROWEST))
    ratio = min(ratio, max(width - arm - sum(numbers) - gaps * gap, NARROWEST))
    table = Table.grid(padding=(0, gap, 0, 0))
    shown = [number for number, size in enumerate(widths) if size > 0]
    for number in shown:
        justify: JustifyMethod = "right" if COLUMNS[number] in ("throughput", "% of limit") else "left"
        table.add_column(width=[arm, *numbers, ratio][number], overflow="fold", justify=justify)
    for row in rows:
        table.add_row(*(row[number] for number in shown))
    return table


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


def _names(records: Sequence[Record]) -> dict[str, str]:
    """What each job's arm is called: where a library ran in several versions, the arm's name and its version."""
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        versions[record.framework] |= {record.library_version} if record.library_version else set()
    names = {}
    for record in records:
        told = len(versions[record.framework]) < 2 or (record.library_version or "") in record.arm
        names[record.job_id] = record.arm if told else f"{record.arm} ({record.library_version})"
    return names


def _row(arm: str, record: Record, found: Comparison | None) -> list[Text]:
    name = Text(f" {arm}")
    if record.latency_ns is None:
        return [name, Text(record.status, style=STYLES.get(record.status, FAILURE)), Text(""), Text(""), Text("")]
    latency = interval(record.latency_ns, record.latency_low_ns, record.latency_high_ns)
    throughput = "" if record.throughput_ns is None else duration(record.throughput_ns)
    compared = Text("baseline" if record.status == "ok" else record.status, style="dim")
    if found is not None:
        compared = Text(f"{ratio(found.ratio, *found.bounds or ())} {found.verdict}", STYLES.get(found.verdict, ""))
    limit = "" if record.limit_fraction is None else percent(record.limit_fraction)
    return [name, Text(latency), Text(throughput), Text(limit), compared]
