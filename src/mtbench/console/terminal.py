"""A sweep as seen in a terminal: a live view while it runs (plain lines if the output is no terminal), and a table at the end.

The view is drawn inside the callbacks of `Progress` alone, which come between timed blocks. There is no refresh thread:
it would take a core from whatever is being timed. Everything goes through one Rich console, as `Text` and never as
markup, since messages such as "pip install 'mlx[cpu]'" would lose their brackets.
"""

import atexit
import json
import math
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mtbench.console import answers, shards, table
from mtbench.console.lines import say
from mtbench.console.styles import FAILURE, STYLES, never_fail_on_a_character
from mtbench.plan.jobs import Arm, Cell
from mtbench.plan.progress import Extent, Progress, Standing
from mtbench.results import cells
from mtbench.results.format import clock, duration, one_line, percent, plural
from mtbench.results.record import Record

REFRESH_SECONDS = 0.25
NUMBER = re.compile(r"\d+(?:\.\d+)?")
GAP = "\0"  # stands for a number
UNLIMITED = 400  # columns: more than any row has
SHOWN_WARNINGS = 3  # in the live view; the end lists them all


class Terminal(Progress):
    """Shows a sweep on a console: live where it is a terminal, one line per visit and per problem where it is not."""

    def __init__(self, console: Console | None = None, seconds: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console()
        self.seconds = seconds
        # Rich takes FORCE_COLOR as a terminal, but a pipe with colours still cannot be redrawn.
        self.can_redraw = self.console.is_interactive and self.console.file.isatty()
        never_fail_on_a_character(self.console)
        self.plan: Extent | None = None
        self.live: Live | None = None
        self.started = self.refreshed = -math.inf
        self.restart = 0
        self.visits_done = 0
        self.cell: Cell | None = None
        self.rounds = (0, 0)
        self.medians_ns: dict[str, float] = {}
        self.states: dict[str, str] = {}  # of the current cell's arms, by name
        self.warnings: dict[str, int] = {}  # each once, with how often it came
        self.told: set[tuple[str, str, str]] = set()
        self.standings: Sequence[Standing] = ()  # of shards, where the sweep runs in several places

    # what the sweep tells

    def sweep_started(self, extent: Extent) -> None:
        plan = self.plan = extent
        self.folder = self._folder(extent.folder)  # now, since the folder in which we are may vanish
        self.started = self.seconds()
        arms = len(plan.arms)
        self._line(
            f"{plan.jobs:,} {plural(plan.jobs, 'job')}: {plan.cells:,} {plural(plan.cells, 'cell')}, "
            f"{arms} {plural(arms, 'arm')}, {plan.restarts} {plural(plan.restarts, 'restart')}; records in {plan.folder}"
        )
        if self.can_redraw:
            self.live = Live(console=self.console, auto_refresh=False, transient=True, get_renderable=self._view)
            self.live.start()
            # Rich hides the cursor; shown, it cannot stay hidden when this process is killed.
            self.console.show_cursor(True)
            atexit.register(self._stop)

    def restart_started(self, restart: int) -> None:
        self.restart = restart
        self.cell = None
        if self.plan is not None:
            self.visits_done = restart * self.plan.cells  # cells that have no arm left are not visited
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

    def shards_seen(self, standings: Sequence[Standing]) -> None:
        before = {one.shard: one.status for one in self.standings}
        self.standings = standings
        if not self.can_redraw:
            for one in standings:
                if before.get(one.shard) != one.status:
                    self._line(shards.line(one))
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
        reached = [cell for _, cell in cells.by_cell(records) if any(record.status != "interrupted" for record in cell)]
        shown = [record for cell in reached for record in cell]
        if shown:
            self._print_wide(shown)
        left_out = len(reached) - table.SHOWN_CELLS
        if left_out > 0:
            self._line(f"{left_out:,} more {plural(left_out, 'cell')}; the report shows them all.")
        remarks = [*table.problems(records), *self._all_warnings(records)]
        for line in [Text(""), *remarks] if remarks else []:
            self.console.print(line, highlight=False, soft_wrap=not self.console.is_terminal)
        if any(record.latency_ns is not None for record in shown):
            self._answer(shown)
        self._conclude(records, interrupted)

    # what is shown

    def _print_wide(self, records: Sequence[Record]) -> None:
        """The table. Where no terminal limits the width, each row is one line of text."""
        width = self.console.width
        if not self.console.is_terminal:
            self.console.width = max(width, UNLIMITED)
        self.console.print(table.results(records, self.console.width))
        self.console.width = width

    def _answer(self, records: Sequence[Record]) -> None:
        """What the sweep answers, in words."""
        folders = {} if self.plan is None else {record.sweep_id: self.folder for record in records}
        answers.show(self.console, answers.of_records_in(records, folders))

    @staticmethod
    def _folder(folder: Path) -> str:
        """A folder as a shell needs it, from here where it is below."""
        there = folder.absolute()
        return shlex.quote(str(there.relative_to(Path.cwd()) if there.is_relative_to(Path.cwd()) else there))

    def _conclude(self, records: Sequence[Record], interrupted: bool) -> None:
        self._line("")
        if interrupted:
            self._line("Interrupted; everything measured so far is kept.")
        elapsed = clock(self.seconds() - self.started) if self.plan else "0:00"
        counts = {status: sum(record.status == status for record in records) for status in _statuses(records)}
        self._line(
            f"{len(records):,} {plural(len(records), 'record')} in {elapsed}: "
            + (", ".join(f"{count:,} {status}" for status, count in counts.items()) or "nothing measured")
        )
        if self.plan and records:
            shown = self.folder
            self._command(f"Records: {shown}")
            if interrupted:
                self._command(f"Go on:   python -m mtbench resume {shown}")
            self._command(f"Report:  python -m mtbench report {shown} --open")

    def _visit(self, cell: Cell) -> str:
        """One line for a cell that was just visited."""
        results = [
            f"{name} {duration(self.medians_ns[name])}" if name in self.medians_ns else f"{name} {state}"
            for name, state in self.states.items()
        ]
        return f"[{self._position()}] {cell}: {', '.join(results)} ({self._times()})"

    def _position(self) -> str:
        if self.plan is None:
            return str(self.visits_done)
        cells = self.plan.cells
        done = self.visits_done - self.restart * cells
        return f"{done}/{cells} cells, restart {self.restart + 1}/{self.plan.restarts}"

    def _times(self) -> str:
        elapsed = self.seconds() - self.started
        done, visits = self._visits()
        begun = self.plan.begun * self.plan.cells if self.plan else 0  # another run's time
        done, visits = done - begun, visits - begun
        if done <= 0:
            return f"{clock(elapsed)} elapsed"
        return f"{clock(elapsed)} elapsed, about {clock(elapsed / done * (visits - done))} left"

    def _visits(self) -> tuple[float, float]:
        """Visits done, the current one in part, and visits in all."""
        visits = self.plan.visits if self.plan else self.visits_done
        rounds, of = self.rounds
        current = rounds / of if self.cell is not None and of and self.visits_done < visits else 0.0
        return min(visits, self.visits_done + current), visits

    def _view(self) -> RenderableType:
        if self.standings:
            return Group(shards.overview(self.standings), *self._recent_warnings())
        done, visits = self._visits()
        parts: list[RenderableType] = [
            Text(f"{self._position()}   {self._times()}"),
            _bar(done / max(visits, 1), min(60, self.console.width)),
        ]
        if self.cell is None:
            parts.append(Text("starting workers", style="dim"))
        else:
            rounds, of = self.rounds
            parts.append(Text(str(self.cell) + (f"   round {rounds} of {of}" if of else ""), style="bold"))
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
        return Group(*parts, *self._recent_warnings())

    def _recent_warnings(self) -> list[Text]:
        return [Text(f"warning: {message}", style="yellow") for message in list(self.warnings)[-SHOWN_WARNINGS:]]

    def _all_warnings(self, records: Sequence[Record]) -> list[Text]:
        """Every warning once: the sweep's own, and those in the records, which may differ in their numbers."""
        lines = [
            f"warning: {message}" + (f" ({count} times)" if count > 1 else "")
            for message, count in self.warnings.items()
        ]
        alike: dict[str, list[str]] = {}
        for message in (one_line(warning) for record in records for warning in record.warnings):
            if message not in self.warnings:
                alike.setdefault(NUMBER.sub(GAP, message), []).append(message)
        for shape, messages in alike.items():
            lines.append(f"warning: {_with_ranges(shape, messages)} ({len(messages)} {plural(len(messages), 'job')})")
        wide = [record for record in records if record.confidence is not None and record.confidence < _asked(record)]
        if wide:
            lines.append(
                f"warning: the intervals of {len(wide)} {plural(len(wide), 'job')} have less confidence than requested, "
                f"at least {percent(min(record.confidence or 0.0 for record in wide))}: too few blocks"
            )
        return [Text(line, style="yellow") for line in lines]

    def _line(self, text: str) -> None:
        """Plain text, which a terminal wraps between words: never coloured, flushed at once."""
        if self.can_redraw:
            say([text], self.console)
        else:
            self._command(text)

    def _command(self, text: str) -> None:
        """A line that someone may copy: never wrapped."""
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _problem(self, record: Record) -> None:
        """A line on the first job with this problem: an arm that cannot start fails in every cell of the sweep."""
        reason = one_line(record.reason or "")
        told = (record.arm, record.status, reason)
        if told not in self.told:
            self.told.add(told)
            self._line(f"{record.status}: {record.arm}, {cells.held([vars(record)]).title()}: {reason}")

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


def _with_ranges(shape: str, messages: Sequence[str]) -> str:
    """Messages that differ in their numbers as one, which has each number's range: `not converged, ±1.2 to 8.9 %`."""
    ranges = [_range(column) for column in zip(*(NUMBER.findall(message) for message in messages), strict=True)]
    return "".join(part for pair in zip_longest(shape.split(GAP), ranges, fillvalue="") for part in pair)


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def _bar(fraction: float, width: int) -> RenderableType:
    line = Table.grid()  # a bar alone does not end its line
    line.add_row(ProgressBar(total=1.0, completed=fraction, width=width))
    return line


def _asked(record: Record) -> float:
    """The confidence that the protocol asked for."""
    return float(json.loads(record.protocol).get("confidence", 0.0))


def _statuses(records: Sequence[Record]) -> list[str]:
    return sorted({record.status for record in records}, key=lambda status: (status != "ok", status))
