"""The table at the end of a sweep: medians with intervals, cell by cell, with verdicts against the baseline."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from mtbench.results import comparison as verdicts
from mtbench.results.record import Record
from mtbench.results.stats import Comparison
from mtbench.results.units import duration
from mtbench.results.words import FAILURE, STYLES, differing, interval, one_line, percent, place, times, title

SHOWN_CELLS = 60  # a sweep of thousands belongs in the report


@dataclass(frozen=True)
class Ratio:
    """How an arm's latency compares with the baseline's: above 1 is slower. Without bounds it is a mere description."""

    ratio: float
    verdict: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{times(self.ratio, self.low, self.high)} {self.verdict}"


COLUMNS = ("arm", "latency", "throughput", "% of limit", "ratio to the baseline")
NARROWEST = 12  # to which names and ratios are wrapped
RATIO_ALONE = 18  # of "1.20x [1.15, 1.25]", with the verdict on a line of its own


def results(records: Sequence[Record], width: int = 80) -> RenderableType:
    """Medians with intervals, sorted into cells, one row per arm in the order measured, each against the cell's baseline.

    Times are for one call; the limit is what the machine's measured peaks allow (`limit_fraction`), left out where it is
    not known or the console too narrow. A row without a speed shows its status; `problems` gives the reasons. Ratios are
    paired comparisons with a verdict, or mere ratios of medians where rounds were not measured side by side.
    """
    shown = cells_of(records)[:SHOWN_CELLS]
    families = {_family(cell[0]) for cell in shown}
    ratios = _ratios([record for record in records if _family(record) in families])
    names = _names(records)
    cells = [(cell[0], [_row(names[r.job_id], r, ratios.get(r.job_id)) for r in cell]) for cell in shown]
    rows = [row for _, cell_rows in cells for row in cell_rows]
    widths = [max([len(name), *(row[column].cell_len for row in rows)]) for column, name in enumerate(COLUMNS)]
    least = 2 * NARROWEST + sum(widths[1:-1]) + len(widths) - 1
    if least > width or not any(record.limit_fraction for cell in shown for record in cell):
        widths[COLUMNS.index("% of limit")] = 0
    parts: list[RenderableType] = [_columns(widths, width, [Text(name, style="bold") for name in COLUMNS])]
    for first, cell_rows in cells:
        heading = title(first, differing(records, first.operator))
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
        where = f"{len(concerned)} jobs" if len(concerned) > 1 else title(concerned[0])
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


def _row(arm: str, record: Record, ratio: Ratio | None) -> list[Text]:
    name = Text(f" {arm}")
    if record.latency_ns is None:
        return [name, Text(record.status, style=STYLES.get(record.status, FAILURE)), Text(""), Text(""), Text("")]
    latency = interval(record.latency_ns, record.latency_low_ns, record.latency_high_ns)
    throughput = "" if record.throughput_ns is None else duration(record.throughput_ns)
    compared = Text("baseline", style="dim") if ratio is None else Text(str(ratio), style=STYLES.get(ratio.verdict, ""))
    limit = "" if record.limit_fraction is None else percent(record.limit_fraction)
    return [name, Text(latency), Text(throughput), Text(limit), compared]


def _family(record: Record) -> tuple[str, str | None, str, int | None]:
    """The comparisons that are made together and corrected for their number, as in a section of the report."""
    return record.operator, record.model, record.params, record.kv_len


def _ratios(records: Sequence[Record]) -> dict[str, Ratio]:
    """Each measured job's ratio to its cell's baseline, by job; the baseline itself has none.

    Verdicts hold for all comparisons of two arms within a family at once (Holm): one that does not survive the
    correction is inconclusive.
    """
    found: dict[str, Ratio] = {}
    families: dict[tuple[object, ...], dict[str, Comparison]] = {}
    for cell in cells_of(records):
        measured = [record for record in cell if record.latency_ns is not None]
        baseline = _baseline(measured)
        for record in measured:
            if baseline is None or record is baseline:
                continue
            compared = _compared(baseline, record)
            if compared is None:
                found[record.job_id] = describe(baseline, record)
            else:
                families.setdefault((_family(record), baseline.arm, record.arm), {})[record.job_id] = compared
    for family in families.values():
        jobs = zip(family, verdicts.corrected(list(family.values())), strict=True)
        found |= {job: Ratio(one.ratio, one.verdict, one.low, one.high) for job, one in jobs}
    return found


def compare(baseline: Record, record: Record) -> Ratio:
    """A paired comparison where rounds were measured side by side, else a mere description."""
    found = _compared(baseline, record)
    return describe(baseline, record) if found is None else Ratio(found.ratio, found.verdict, found.low, found.high)


def _compared(baseline: Record, record: Record) -> Comparison | None:
    if baseline.sweep_id != record.sweep_id or False in (baseline.paired, record.paired):
        return None
    return verdicts.compare(verdicts.latency_blocks(baseline), verdicts.latency_blocks(record))


def describe(baseline: Record, record: Record) -> Ratio:
    """The plain ratio of two measured medians."""
    assert baseline.latency_ns
    assert record.latency_ns
    return Ratio(record.latency_ns / baseline.latency_ns, "not compared in pairs")


def cells_of(records: Sequence[Record]) -> list[list[Record]]:
    """Records by cell, cells sorted by operator, parameters, dtype and shape; arms stay in the order measured."""
    return [list(cell) for _, cell in groupby(sorted(records, key=place), key=lambda record: record.cell_id)]


def _baseline(measured: Sequence[Record]) -> Record | None:
    """The arm that the protocol names, else the first."""
    named = [record for record in measured if record.arm == json.loads(record.protocol).get("baseline")]
    return next(iter([*named, *measured]), None)
