"""A sweep as seen in a terminal: a live view while it runs, plain lines where nobody can redraw, a table at the end.

The view is drawn inside the callbacks of `Progress` alone, which come between timed blocks. There is no refresh thread:
it would take a core from whatever is being timed. Everything goes through one Rich console, as `Text` and never as
markup, since messages such as "pip install 'mlx[cpu]'" would lose their brackets.
"""

import atexit
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mtbench import verdicts
from mtbench.bench.progress import Plan, Progress
from mtbench.job import Arm, Cell
from mtbench.record import Record
from mtbench.stats import Comparison

REFRESH_SECONDS = 0.25
SHOWN_CELLS = 60  # in the final table; a sweep of thousands belongs in the report
SHOWN_WARNINGS = 3  # in the live view; the end lists them all

NUMBER = re.compile(r"\d+(?:\.\d+)?")

UNITS = (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9))

STYLES = {
    "ok": "green",
    "faster": "green",
    "slower": "red",
    "measuring": "green",
    "preparing": "yellow",
    "unsupported": "yellow",
    "interrupted": "yellow",
    "waiting": "dim",
    "inconclusive": "dim",
}
FAILURE = "bold red"  # every status that is not named above


def duration(ns: float) -> str:
    """A time in the unit that suits it, to three significant digits: `duration(41234)` is "41.2 µs"."""
    unit, scale = _unit(ns)
    return f"{_digits(ns / scale, _decimals(ns / scale))} {unit}"


def interval(ns: float, low_ns: float | None, high_ns: float | None) -> str:
    """A time with its bounds in the same unit and to the same decimals: "41.2 µs [40.9, 41.7]"."""
    if low_ns is None or high_ns is None:
        return duration(ns)
    scale = _unit(ns)[1]
    decimals = _decimals(ns / scale)
    return f"{duration(ns)} [{_digits(low_ns / scale, decimals)}, {_digits(high_ns / scale, decimals)}]"


def times(ratio: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """A ratio with its bounds to the same decimals: "1.32x [1.30, 1.35]", or with 4 digits "1.324x [1.301, 1.349]"."""
    decimals = max(0, _decimals(ratio) - (ratio < 1) + digits - 3)  # 57.1, 1.32, 0.95
    bounds = "" if low is None or high is None else f" [{_digits(low, decimals)}, {_digits(high, decimals)}]"
    return f"{_digits(ratio, decimals)}x{bounds}"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: "0:07", "12:30", "1:02:03"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _unit(ns: float) -> tuple[str, float]:
    """The largest unit in which a time reads as 1 or more, after rounding: 999.7 ns is 1.00 µs."""
    fitting = [(unit, scale) for unit, scale in UNITS if abs(ns) >= 0.9995 * scale]
    return fitting[-1] if fitting else UNITS[0]


def _decimals(value: float) -> int:
    """Decimals that show three significant digits of a value."""
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = math.floor(math.log10(float(f"{abs(value):.2e}")))  # 9.996 counts as 10.0
    return max(0, 2 - exponent)


def _digits(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def one_line(message: str) -> str:
    """What a message says, on one line and without control characters; of a traceback, the error."""
    message = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", message)
    lines = [re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line).rstrip() for line in message.splitlines()]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    told = [line for line in after if line and not (frames and line.startswith(" "))]
    return told[0].strip() if told else ""


class Terminal(Progress):
    """Shows a sweep on a console: live where it is a terminal, one line per visit and per problem where it is not."""

    def __init__(self, console: Console | None = None, seconds: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console()
        self.seconds = seconds
        # Rich takes FORCE_COLOR as a terminal, but a pipe with colours still cannot be redrawn.
        self.can_redraw = self.console.is_interactive and self.console.file.isatty()
        never_fail_on_a_character(self.console)
        self.plan: Plan | None = None
        self.live: Live | None = None
        self.started = self.refreshed = -math.inf
        self.epoch = 0
        self.visits_done = 0
        self.cell: Cell | None = None
        self.rounds = (0, 0)
        self.medians_ns: dict[str, float] = {}
        self.states: dict[str, str] = {}  # of the current cell's arms, by name
        self.warnings: dict[str, int] = {}  # each once, with how often it came
        self.told: set[tuple[str, str, str]] = set()

    # what the sweep tells

    def sweep_started(self, plan: Plan) -> None:
        self.plan = plan
        self.started = self.seconds()
        arms = len(plan.arms)
        self._line(
            f"{plan.jobs:,} {_plural(plan.jobs, 'job')}: {plan.cells:,} {_plural(plan.cells, 'cell')}, "
            f"{arms} {_plural(arms, 'arm')}, {plan.epochs} {_plural(plan.epochs, 'epoch')}; records in {plan.folder}"
        )
        if self.can_redraw:
            self.live = Live(console=self.console, auto_refresh=False, transient=True, get_renderable=self._view)
            self.live.start()
            # Rich hides the cursor; shown, it cannot stay hidden when this process is killed.
            self.console.show_cursor(True)
            atexit.register(self._stop)

    def epoch_started(self, epoch: int) -> None:
        self.epoch = epoch
        self.cell = None
        if self.plan is not None:
            self.visits_done = epoch * self.plan.cells  # cells that have no arm left are not visited
        self._refresh(now=True)

    def cell_started(self, cell: Cell, arms: Sequence[Arm]) -> None:
        self.cell = cell
        self.rounds = (0, 0)
        self.medians_ns = {}
        self.states = {arm.name: "waiting" for arm in arms}
        self._refresh()

    def arm_preparing(self, arm: Arm) -> None:
        self.states = {name: "waiting" if state == "preparing" else state for name, state in self.states.items()} | {
            arm.name: "preparing"
        }
        # At once: this can take half a minute, in which nothing else is told, and nothing is timed.
        self._refresh(now=True)

    def round_finished(self, rounds: int, of: int, medians_ns: Mapping[str, float]) -> None:
        self.rounds = (rounds, of)
        self.medians_ns.update(medians_ns)
        self.states |= dict.fromkeys(medians_ns, "measuring")
        self._refresh()

    def job_recorded(self, record: Record) -> None:
        if self.cell is not None and record.cell_id == self.cell.id:
            self.states[record.arm] = record.status
            if record.latency_ns is None:
                self.medians_ns.pop(record.arm, None)
            else:
                self.medians_ns[record.arm] = record.latency_ns
        if record.status != "ok":
            self._problem(record)
        self._refresh()

    def cell_finished(self, cell: Cell) -> None:
        self.visits_done += 1
        self.rounds = (0, 0)
        if not self.can_redraw:
            self._line(self._visit(cell))
        self._refresh()

    def note(self, message: str) -> None:
        self._line(message)

    def warn(self, message: str) -> None:
        message = one_line(message)
        self.warnings[message] = self.warnings.get(message, 0) + 1
        if self.warnings[message] == 1 and not self.can_redraw:
            self._line(f"warning: {message}")
        self._refresh()

    def sweep_finished(self, records: Sequence[Record], interrupted: bool) -> None:
        self._stop()
        reached = [cell for cell in _cells(records) if any(record.status != "interrupted" for record in cell)]
        if reached:
            # Ctrl-C is to end things at once, and the verdicts' library takes a second to import.
            shown = [record for cell in reached for record in cell]
            self.console.print(results(shown, self.console.width, paired=not interrupted))
        left_out = len(reached) - SHOWN_CELLS
        if left_out > 0:
            self._line(f"{left_out:,} more {_plural(left_out, 'cell')}; the report shows them all.")
        remarks = [*problems(records), *self._all_warnings(records)]
        for line in [Text(""), *remarks] if remarks else []:
            self.console.print(line, highlight=False, soft_wrap=not self.console.is_terminal)
        self._conclude(records, interrupted)

    # what is shown

    def _conclude(self, records: Sequence[Record], interrupted: bool) -> None:
        self._line("")
        if interrupted:
            self._line("Interrupted; what was measured until then is kept.")
        elapsed = clock(self.seconds() - self.started) if self.plan else "0:00"
        counts = {status: sum(record.status == status for record in records) for status in _statuses(records)}
        self._line(
            f"{len(records):,} {_plural(len(records), 'record')} in {elapsed}: "
            + (", ".join(f"{count:,} {status}" for status, count in counts.items()) or "nothing measured")
        )
        if self.plan and records:
            folder = self.plan.folder.absolute()
            shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
            self._line(f"Records: {shown}")
            self._line(f"Report:  python -m mtbench report {shown}, then open reports/index.html")

    def _visit(self, cell: Cell) -> str:
        """One line for a cell that was just visited."""
        results = [
            f"{name} {duration(self.medians_ns[name])}" if name in self.medians_ns else f"{name} {state}"
            for name, state in self.states.items()
        ]
        return f"[{self._position()}] {_named(cell)}: {', '.join(results)} ({self._times()})"

    def _position(self) -> str:
        if self.plan is None:
            return str(self.visits_done)
        cells = self.plan.cells
        done = self.visits_done - self.epoch * cells
        return f"{done}/{cells} cells, epoch {self.epoch + 1}/{self.plan.epochs}"

    def _times(self) -> str:
        elapsed = self.seconds() - self.started
        done, visits = self._visits()
        if done == 0:
            return f"{clock(elapsed)} elapsed"
        return f"{clock(elapsed)} elapsed, about {clock(elapsed / done * (visits - done))} left"

    def _visits(self) -> tuple[float, float]:
        """Visits done, the current one in part, and visits in all."""
        visits = self.plan.visits if self.plan else self.visits_done
        rounds, of = self.rounds
        current = rounds / of if self.cell is not None and of and self.visits_done < visits else 0.0
        return min(visits, self.visits_done + current), visits

    def _view(self) -> RenderableType:
        done, visits = self._visits()
        parts: list[RenderableType] = [
            Text(f"{self._position()}   {self._times()}"),
            _bar(done / max(visits, 1), min(60, self.console.width)),
        ]
        if self.cell is None:
            parts.append(Text("starting workers", style="dim"))
        else:
            rounds, of = self.rounds
            parts.append(Text(_named(self.cell) + (f"   round {rounds} of {of}" if of else ""), style="bold"))
            arms = Table.grid(padding=(0, 2))
            arms.add_column()
            arms.add_column(justify="right", min_width=8)
            for name, state in self.states.items():
                median = self.medians_ns.get(name)
                arms.add_row(
                    Text(f"  {name}"),
                    Text("" if median is None else duration(median)),
                    Text(state, style=STYLES.get(state, FAILURE)),
                )
            parts.append(arms)
        recent = list(self.warnings)[-SHOWN_WARNINGS:]
        parts += [Text(f"warning: {message}", style="yellow") for message in recent]
        return Group(*parts)

    def _all_warnings(self, records: Sequence[Record]) -> list[Text]:
        """Every warning once: the sweep's own, and those in the records, which may differ in their numbers."""
        lines = [
            f"warning: {message}" + (f" ({count} times)" if count > 1 else "")
            for message, count in self.warnings.items()
        ]
        alike: dict[str, list[str]] = {}
        for message in (one_line(warning) for record in records for warning in record.warnings):
            if message not in self.warnings:
                alike.setdefault(NUMBER.sub("…", message), []).append(message)
        for shape, messages in alike.items():
            message = messages[0] if len(set(messages)) == 1 else shape
            lines.append(f"warning: {message} ({len(messages)} {_plural(len(messages), 'job')})")
        wide = [record for record in records if record.confidence is not None and record.confidence < _asked(record)]
        if wide:
            lines.append(
                f"warning: the intervals of {len(wide)} {_plural(len(wide), 'job')} hold with less confidence than asked "
                f"for, from {min(record.confidence or 0.0 for record in wide):.0%}: too few blocks"
            )
        return [Text(line, style="yellow") for line in lines]

    def _line(self, text: str) -> None:
        """A line of plain text: never wrapped, never coloured, flushed at once."""
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _problem(self, record: Record) -> None:
        """A line on the first job with this problem: an arm that cannot start fails in every cell of the sweep."""
        reason = one_line(record.reason or "")
        told = (record.arm, record.status, reason)
        if told not in self.told:
            self.told.add(told)
            self._line(f"{record.status}: {record.arm}, {title(record)}: {reason}")

    def _refresh(self, now: bool = False) -> None:
        if self.live is not None and (now or self.seconds() - self.refreshed >= REFRESH_SECONDS):
            self.live.refresh()
            self.refreshed = self.seconds()

    def _stop(self) -> None:
        """Ends the live view and leaves the terminal as it was; harmless when done already."""
        if self.live is not None:
            self.live.stop()
            self.live = None
            atexit.unregister(self._stop)


def _bar(fraction: float, width: int) -> RenderableType:
    line = Table.grid()  # a bar alone does not end its line
    line.add_row(ProgressBar(total=1.0, completed=fraction, width=width))
    return line


# the final table


@dataclass(frozen=True)
class Ratio:
    """How an arm's latency compares with the baseline's: above 1 is slower. Without bounds it is a mere description."""

    ratio: float
    verdict: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{times(self.ratio, self.low, self.high)} {self.verdict}"


COLUMNS = ("arm", "latency", "throughput", "ratio to the baseline")


def results(records: Sequence[Record], width: int = 80, paired: bool = True) -> RenderableType:
    """Medians with intervals, sorted into cells, one row per arm in the order measured, each against the cell's baseline.

    Times are for one call. A row without a speed shows its status; `problems` gives the reasons. Ratios are paired
    comparisons with a verdict, or, unless `paired`, mere ratios of medians.
    """
    shown = _cells(records)[:SHOWN_CELLS]
    families = {_family(cell[0]) for cell in shown}
    ratios = _ratios([record for record in records if _family(record) in families], paired)
    names = _names(records)
    cells = [(cell[0], [_row(names[r.job_id], r, ratios.get(r.job_id)) for r in cell]) for cell in shown]
    rows = [row for _, cell_rows in cells for row in cell_rows]
    widths = [max([len(name), *(row[column].cell_len for row in rows)]) for column, name in enumerate(COLUMNS)]
    parts: list[RenderableType] = [_columns(widths, width, [Text(name, style="bold") for name in COLUMNS])]
    for first, cell_rows in cells:
        heading = title(first, differing(records, first.operator))
        parts += [Text(""), Text(heading, style="bold"), _columns(widths, width, *cell_rows)]
    return Group(*parts)


def _columns(widths: Sequence[int], width: int, *rows: Sequence[Text]) -> Table:
    """Rows aligned with those of other cells. Where they don't fit, names and ratios wrap first, times last."""
    gap = 2 if sum(widths) + 2 * 3 <= width else 1
    arm, latency, throughput, ratio = widths
    arm = min(arm, max(width - latency - throughput - ratio - 3 * gap, 12))
    ratio = min(ratio, max(width - arm - latency - throughput - 3 * gap, 12))
    table = Table.grid(padding=(0, gap, 0, 0))
    table.add_column(width=arm, overflow="fold")
    table.add_column(width=latency, overflow="fold")
    table.add_column(width=throughput, overflow="fold", justify="right")
    table.add_column(width=ratio, overflow="fold")
    for row in rows:
        table.add_row(*row)
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
        return [name, Text(record.status, style=STYLES.get(record.status, FAILURE)), Text(""), Text("")]
    latency = interval(record.latency_ns, record.latency_low_ns, record.latency_high_ns)
    throughput = "" if record.throughput_ns is None else duration(record.throughput_ns)
    compared = Text("baseline", style="dim") if ratio is None else Text(str(ratio), style=STYLES.get(ratio.verdict, ""))
    return [name, Text(latency), Text(throughput), compared]


def _family(record: Record) -> tuple[str, str, int | None]:
    """The comparisons that are made together and corrected for their number, as in a section of the report."""
    return record.operator, record.params, record.kv_len


def _ratios(records: Sequence[Record], paired: bool) -> dict[str, Ratio]:
    """Each measured job's ratio to its cell's baseline, by job; the baseline itself has none.

    Verdicts hold for all comparisons of two arms within a family at once (Holm): one that does not survive the
    correction is inconclusive.
    """
    found: dict[str, Ratio] = {}
    families: dict[tuple[object, ...], dict[str, Comparison]] = {}
    for cell in _cells(records):
        measured = [record for record in cell if record.latency_ns is not None]
        baseline = _baseline(measured)
        for record in measured:
            if baseline is None or record is baseline:
                continue
            compared = _compared(baseline, record) if paired else None
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
    return verdicts.compare(_blocks(baseline), _blocks(record))


def describe(baseline: Record, record: Record) -> Ratio:
    """The plain ratio of two measured medians."""
    assert baseline.latency_ns
    assert record.latency_ns
    return Ratio(record.latency_ns / baseline.latency_ns, "not compared in pairs")


def _blocks(record: Record) -> verdicts.Blocks:
    """The block medians in nanoseconds by epoch and round."""
    return {
        (epoch, number): median(calls)
        for epoch, rounds in enumerate(record.latency_samples_ns)
        for number, calls in enumerate(rounds)
        if calls
    }


def _cells(records: Sequence[Record]) -> list[list[Record]]:
    """Records by cell, cells sorted by operator, parameters, dtype and shape; arms stay in the order measured."""
    return [list(cell) for _, cell in groupby(sorted(records, key=place), key=lambda record: record.cell_id)]


def place(record: Record) -> tuple[Any, ...]:
    """Where a cell stands in a table: a sorting key."""
    r = record
    return r.operator, _natural(r.params), r.dtype, r.batch_size, r.seq_len, r.kv_len or 0, r.cell_id


def _natural(text: str) -> list[str | int]:
    """A sorting key in which 768 comes before 1024."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _baseline(measured: Sequence[Record]) -> Record | None:
    """The arm that the protocol names, else the first."""
    named = [record for record in measured if record.arm == json.loads(record.protocol).get("baseline")]
    return next(iter([*named, *measured]), None)


def differing(records: Sequence[Record], operator: str) -> list[str]:
    """Parameters in which an operator's cells differ."""
    seen = [json.loads(params) for params in {record.params for record in records if record.operator == operator}]
    return sorted(
        {name for params in seen for name in params if any(other.get(name) != params[name] for other in seen)}
    )


def title(record: Record, parameters: Sequence[str] = ()) -> str:
    params = json.loads(record.params)
    keys = "" if record.kv_len is None else f" kv {record.kv_len}"
    differing = "".join(f" {name}={params[name]}" for name in parameters if name in params)
    return f"{record.operator} {record.dtype} batch {record.batch_size} seq {record.seq_len}{keys}{differing}"


def _named(cell: Cell) -> str:
    """A cell with the parameters in which it is not the operator's default."""
    defaults = {field.name: field.default for field in fields(cell.operator_class)}
    return f"{cell}" + "".join(f" {name}={value}" for name, value in cell.params if defaults.get(name) != value)


def _asked(record: Record) -> float:
    """The confidence that the protocol asked for."""
    return float(json.loads(record.protocol).get("confidence", 0.0))


def _statuses(records: Sequence[Record]) -> list[str]:
    return sorted({record.status for record in records}, key=lambda status: (status != "ok", status))


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def never_fail_on_a_character(console: Console) -> None:
    """Where the output cannot show µ, a ? shall stand there, rather than end a sweep of hours."""
    if isinstance(console.file, TextIOWrapper) and not console.encoding.startswith("utf"):
        with suppress(ValueError):  # a stream that is in use already may refuse
            console.file.reconfigure(errors="replace")
