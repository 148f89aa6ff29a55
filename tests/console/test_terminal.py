"""What a user sees: lines in a pipe, a view in a terminal (a real pseudo-terminal, read by an emulator), a final table."""

import io
import json
import os
import pty
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console

import record_builder
from mtbench.console import table
from mtbench.console.terminal import Terminal
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Cell, Task, job
from mtbench.plan.progress import Extent
from mtbench.results import answers
from mtbench.results.answers.contests import of_records
from mtbench.results.comparison import between
from mtbench.results.format import clock, duration, interval, one_line, percent, ratio
from mtbench.results.record import Record
from record_builder import with_blocks

TORCH, MLX = Arm("torch"), Arm("mlx", "compiled")


def cell(embed_dim: int = 768, seq_len: int = 64, dtype: str = "float32") -> Cell:
    return job(Task("softmax", (("embed_dim", embed_dim),), dtype, Shape(1, seq_len)), TORCH, 1e-5).cell


def record(
    arm: Arm = TORCH, of: Cell | None = None, status: str = "ok", block_ns: Sequence[float] = (), **columns: Any
) -> Record:
    """A record whose blocks have these medians, in each of three restarts."""
    of = of or cell()
    identity = {
        "operator": of.operator, "framework": arm.framework, "mode": arm.mode, "variant": arm.variant, "dtype": of.dtype,
        "batch_size": of.shape.batch_size, "seq_len": of.shape.seq_len, "params": json.dumps(dict(of.params)),
        "sweep_id": "one", "cell_id": of.id, "job_id": f"{of.id}{arm.name}", "status": status, "library_version": None,
    }  # fmt: skip
    found = record_builder.record(arm.name, **identity | columns)
    if block_ns:
        with_blocks(found, [block_ns] * 3)
        found.limit_fraction = None
    for name, value in columns.items():
        setattr(found, name, value)
    return found


def blocks(ns: float, seed: int, rounds: int = 20) -> list[float]:
    draw = random.Random(seed)
    return [ns * draw.uniform(0.995, 1.005) for _ in range(rounds)]


class Seconds:
    """A clock that stands still unless it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pipe:
    """A terminal view that writes into a pipe, so to say."""

    def __init__(self, width: int = 80, cells: int = 2, restarts: int = 1, folder: Path = Path("multirun/a")) -> None:
        self.file = io.StringIO()
        self.seconds = Seconds()
        self.view = Terminal(Console(file=self.file, width=width), self.seconds)
        self.view.sweep_started(Extent(cells, [TORCH, MLX], cells * 2, restarts, folder))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.file.getvalue().splitlines()]

    def end(self, records: Sequence[Record], interrupted: bool = False) -> list[str]:
        self.view.sweep_finished(records, interrupted)
        return self.lines


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (0.5, "0.500 ns"),
        (7, "7.00 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 µs"),
        (1000, "1.00 µs"),
        (9996, "10.0 µs"),
        (41_234, "41.2 µs"),
        (999_600, "1.00 ms"),
        (1_234_567, "1.23 ms"),
        (2.5e9, "2.50 s"),
        (123.4e9, "123 s"),
    ],
)
def test_duration_has_three_digits_in_a_fitting_unit(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_interval_shares_the_unit_and_decimals_of_its_median() -> None:
    assert interval(41_234, 40_912, 41_680) == "41.2 µs [40.9, 41.7]"
    assert interval(1_001_000, 998_000, 1_020_000) == "1.00 ms [1.00, 1.02]"
    assert interval(9_990, 9_912, 10_240) == "9.99 µs [9.91, 10.24]"
    assert interval(500, None, None) == "500 ns"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_one_line_finds_the_error_in_a_traceback_and_drops_control_characters() -> None:
    traceback = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n    ^^^\nValueError: bad\n\nhint'
    )
    assert one_line(traceback) == "ValueError: bad"
    assert one_line("\x1b[31mred\x1b[0m\tand\x07 more\nnext") == "red and  more"
    assert one_line("") == ""


def test_a_pipe_gets_one_line_per_visit_and_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI services do; Rich then says that this is a terminal
    pipe = Pipe(width=30, cells=2, restarts=2)
    for restart in range(2):
        pipe.view.restart_started(restart)
        for current in (cell(), cell(embed_dim=1024)):
            pipe.view.cell_started(current, [TORCH, MLX])
            pipe.view.arm_preparing(TORCH)
            for rounds in range(1, 6):
                pipe.seconds.now += 1
                pipe.view.round_finished(rounds, 5, {"torch": 41_200.0, "mlx_compiled": 1_500_000.0})
            pipe.view.cell_finished(current)
    assert pipe.lines == [
        "4 jobs: 2 cells, 2 arms, 2 restarts; records in multirun/a",
        "[1/2 cells, restart 1/2] softmax float32 b1_s64: torch 41.2 µs, mlx_compiled 1.50 ms"
        " (0:05 elapsed, about 0:15 left)",
        "[2/2 cells, restart 1/2] softmax float32 b1_s64 embed_dim=1024: torch 41.2 µs, mlx_compiled 1.50 ms"
        " (0:10 elapsed, about 0:10 left)",
        "[1/2 cells, restart 2/2] softmax float32 b1_s64: torch 41.2 µs, mlx_compiled 1.50 ms"
        " (0:15 elapsed, about 0:05 left)",
        "[2/2 cells, restart 2/2] softmax float32 b1_s64 embed_dim=1024: torch 41.2 µs, mlx_compiled 1.50 ms"
        " (0:20 elapsed, about 0:00 left)",
    ]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", pipe.file.getvalue())


def test_time_left_counts_no_restart_that_another_run_measured() -> None:
    pipe = Pipe()
    pipe.view.sweep_started(Extent(1, [TORCH], 1, 4, Path("multirun/a"), begun=2))
    pipe.view.restart_started(2)
    pipe.view.cell_started(cell(), [TORCH])
    pipe.seconds.now += 5
    pipe.view.cell_finished(cell())
    assert pipe.lines[-1].endswith("(0:05 elapsed, about 0:05 left)")


def test_an_interrupted_sweep_says_how_to_go_on() -> None:
    pipe = Pipe(folder=Path("multirun/a b"))
    pipe.view.sweep_finished([record(TORCH)], True)
    assert "Go on:   python -m mtbench resume 'multirun/a b'" in pipe.lines
    pipe = Pipe()
    pipe.view.sweep_finished([record(TORCH)], False)
    assert not [line for line in pipe.lines if line.startswith("Go on")]


def test_a_pipe_gets_each_problem_once_with_its_brackets() -> None:
    pipe = Pipe()
    reason = "MLX is not installed; install it with: pip install 'mlx[cpu]'"
    for _ in range(2):
        pipe.view.job_recorded(record(MLX, cell(), "unsupported", reason=reason))
        pipe.view.job_recorded(record(MLX, cell(seq_len=128), "unsupported", reason=reason))
        pipe.view.warn("on battery")
    assert pipe.lines[1:] == [
        f"unsupported: mlx_compiled, softmax float32 batch 1 seq 64: {reason}",
        "warning: on battery",
    ]


def test_a_failed_arm_shows_its_status_and_no_speed() -> None:
    pipe = Pipe(cells=1)
    pipe.view.restart_started(0)
    pipe.view.cell_started(cell(), [TORCH, MLX])
    pipe.view.round_finished(1, 5, {"torch": 10.0, "mlx_compiled": 20.0})
    pipe.view.job_recorded(record(MLX, status="mismatch", reason="off by 0.3"))
    pipe.view.job_recorded(record(TORCH, cell(seq_len=128), "crashed", reason="of another cell"))
    pipe.view.cell_finished(cell())
    assert "softmax float32 b1_s64: torch 10.0 ns, mlx_compiled mismatch (" in pipe.lines[-1]


def test_cells_left_out_of_an_restart_do_not_delay_the_next() -> None:
    pipe = Pipe(cells=4, restarts=2)
    pipe.view.restart_started(1)  # nothing of restart 0 could be visited
    pipe.view.cell_started(cell(), [TORCH])
    pipe.view.cell_finished(cell())
    assert pipe.lines[-1].startswith("[1/4 cells, restart 2/2]")


def test_the_table_sorts_into_cells_and_gives_verdicts() -> None:
    long, short = cell(seq_len=128), cell(seq_len=64)
    lines = Pipe().end(
        [
            record(TORCH, long, block_ns=blocks(80_000, 1)),
            record(MLX, long, block_ns=blocks(80_000, 2)),
            record(TORCH, short, block_ns=blocks(40_000, 3)),
            record(MLX, short, block_ns=blocks(60_000, 4)),
            record(Arm("numpy"), short, block_ns=blocks(20_000, 5)),
        ]
    )
    start = lines.index("softmax float32 batch 1 seq 64")
    assert re.fullmatch(r" torch +[34]\d\.\d µs \[(?:39|40)\.\d, 40\.\d\] +20\.\d µs +baseline", lines[start + 1])
    assert re.fullmatch(
        r" mlx_compiled +\S+ µs \[\S+, \S+\] +\S+ µs +1\.\d{3}x \[1\.\d{3}, 1\.5\d\d\] slower", lines[start + 2]
    )
    assert lines[start + 3].endswith("faster")
    assert lines[start + 5] == "softmax float32 batch 1 seq 128"
    assert lines[start + 7].endswith("equivalent")


def test_verdicts_are_corrected_for_their_number() -> None:
    """Three restarts whose ratio is 1.1 with a deviation of 4 % have p = 4.5 %, enough for one and not for two."""

    def verdicts(*lengths: int) -> list[str]:
        records = [
            record(arm, cell(seq_len=length), latency_ns=1000.0, latency_samples_ns=[[[ns]] * 6 for ns in restarts])
            for length in lengths
            for arm, restarts in ((TORCH, (1000, 1000, 1000)), (MLX, (1060, 1100, 1140)))
        ]
        return [line.rpartition("] ")[2] for line in Pipe().end(records) if line.startswith(" mlx")]

    assert verdicts(16) == ["slower"]
    assert verdicts(16, 32) == ["inconclusive  (not significant after correction)"] * 2


def test_pairs_are_formed_by_restart_and_round() -> None:
    """Both arms are 2 times slower in the second restart, and one has fewer rounds in the first."""
    a = record(latency_ns=100.0, latency_samples_ns=[[[100]] * 12, [[200]] * 12])
    b = record(MLX, latency_ns=110.0, latency_samples_ns=[[[110]] * 8, [[220]] * 12])
    found = between(a, b)
    assert found is not None
    assert found.ratio == pytest.approx(1.1)


def test_arms_of_different_sweeps_get_a_descriptive_ratio() -> None:
    a, b = record(block_ns=blocks(100, 1)), record(MLX, block_ns=blocks(300, 2), sweep_id="another")
    (line,) = (line for line in Pipe().end([a, b]) if line.startswith(" mlx"))
    assert re.search(r" 3\.00\dx \[\S+, \S+\] descriptive$", line)


def test_the_protocol_names_the_baseline_else_it_is_the_first_with_a_speed() -> None:
    def baseline(**columns: Any) -> str:
        cells = [
            record(status="crashed"),
            *(record(Arm(name), block_ns=[5.0] * 9, **columns) for name in ("mlx", "numpy")),
        ]
        lines = Pipe().end(cells)
        return next(line for line in lines if line.endswith("baseline") and line.startswith(" ")).split()[0]

    assert baseline() == "mlx"
    assert baseline(protocol='{"baseline": "numpy"}') == "numpy"


def test_versions_of_a_library_are_told_apart_where_there_are_several() -> None:
    installed, asked, elsewhere = Arm("mlx"), Arm("mlx", requirement="mlx==0.31.0"), Arm("mlx", python="/a/python")
    several = [
        record(TORCH, block_ns=[5.0] * 9, library_version="2.13.0"),
        record(installed, block_ns=[5.0] * 9, library_version="0.32.4"),
        record(asked, block_ns=[5.0] * 9, library_version="0.31.0"),
        record(elsewhere, block_ns=[5.0] * 9, library_version="0.30.0"),
    ]
    lines = Pipe(width=120).end(several)
    start = lines.index("softmax float32 batch 1 seq 64")
    names = ["torch", "mlx (0.32.4)", "mlx-0.31.0", f"{elsewhere.name} (0.30.0)"]
    assert [line.split("  ")[0].strip() for line in lines[start + 1 : start + 5]] == names
    assert not any("0.32.4" in line for line in Pipe().end(several[:2]))


def test_a_note_is_a_line_as_it_is() -> None:
    pipe = Pipe()
    pipe.view.note("mlx-0.31.0 runs in [a] folder")
    assert pipe.lines[-1] == "mlx-0.31.0 runs in [a] folder"


def test_differing_parameters_stand_in_the_cell_and_sort_as_numbers() -> None:
    lines = Pipe().end([record(of=cell(embed_dim=size), block_ns=[5.0] * 9) for size in (1024, 768)])
    titles = [line for line in lines if line.startswith("softmax")]
    assert titles == ["softmax float32 batch 1 seq 64 embed_dim=768", "softmax float32 batch 1 seq 64 embed_dim=1024"]


def test_the_end_gives_reasons_warnings_counts_and_where_things_are() -> None:
    pipe = Pipe()
    pipe.view.warn("on battery")
    pipe.view.warn("on battery")
    pipe.seconds.now += 75
    lines = pipe.end(
        [
            record(TORCH, block_ns=[5.0] * 9, warnings=["not converged, ±3 %"]),
            record(MLX, status="unsupported", reason="pip install 'mlx[cpu]'"),
            record(MLX, cell(seq_len=128), "unsupported", reason="pip install 'mlx[cpu]'"),
        ]
    )
    assert "unsupported mlx_compiled (2 jobs): pip install 'mlx[cpu]'" in lines
    assert "warning: on battery (2 times)" in lines
    assert "warning: not converged, ±3 % (1 job)" in lines
    assert lines[-3:] == [
        "3 records in 1:15: 1 ok, 2 unsupported",
        "Records: multirun/a",
        "Report:  python -m mtbench report multirun/a --open",
    ]


def test_warnings_that_differ_in_numbers_are_one_line() -> None:
    lines = Pipe().end(
        [
            record(of=cell(seq_len=size), block_ns=[5.0] * 9, warnings=[f"not converged, ±{size / 10} %", "hot"])
            for size in (16, 32, 64)
        ]
    )
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: not converged, ±1.6 to 6.4 % (3 jobs)",
        "warning: hot (3 jobs)",
    ]


def test_intervals_from_too_few_blocks_are_pointed_out() -> None:
    protocol = '{"confidence": 0.95}'
    few = record(block_ns=[5.0, 6.0], confidence=0.5, protocol=protocol)
    enough = record(MLX, block_ns=[5.0] * 9, confidence=0.96, protocol=protocol)
    told = [line for line in Pipe(width=200).end([few, enough]) if line.startswith("warning")]
    assert told == [
        "warning: the intervals of 1 job have less confidence than requested, at least 50 %: too few blocks"
    ]


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ((57.06, 51.82, 62.83), "57.06x [51.82, 62.83]"),
        ((1.324, 1.301, 1.349), "1.324x [1.301, 1.349]"),
        ((0.951, 0.94, 0.96), "0.951x [0.940, 0.960]"),
        ((0.0123, 0.0121, 0.0125), "0.0123x [0.0121, 0.0125]"),
        ((2.0,), "2.000x"),
        ((0.55, 0.001, 4695832.65), "0.550x [<0.006, >55.000]"),
        ((1.0012, 1.0004, 1.0021), "1.0012x [1.0004, 1.0021]"),  # a bound that is not 1 does not look like it
        ((0.998, 0.9964, 0.99997), "0.99800x [0.99640, 0.99997]"),
        ((1.0002, 0.9998, 1.0004), "1.000x [1.000, 1.000]"),  # which holds 1
        ((1.0, 1.0, 1.0), "1.000x [1.000, 1.000]"),
    ],
)
def test_a_ratio_shows_what_is_known_of_it(of: tuple[float, ...], text: str) -> None:
    assert ratio(*of) == text


def test_a_table_of_thousands_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SHOWN_CELLS", 2)
    lines = Pipe().end([record(of=cell(seq_len=size), block_ns=[5.0] * 9) for size in (16, 32, 64, 128)])
    assert len([line for line in lines if line.startswith("softmax")]) == 2
    assert "2 more cells; the report shows them all." in lines


def test_an_interrupted_sweep_says_so_and_judges_what_it_has() -> None:
    lines = Pipe().end([record(TORCH, block_ns=blocks(10, 1)), record(MLX, block_ns=blocks(20, 2))], interrupted=True)
    assert "Interrupted; everything measured so far is kept." in lines
    assert any("2.0" in line and line.endswith("slower") for line in lines)


def test_cells_that_were_never_reached_are_counted_but_not_listed() -> None:
    waiting = [record(of=cell(seq_len=size), status="interrupted", reason="before its first visit") for size in (8, 16)]
    lines = Pipe().end([record(block_ns=[5.0] * 9), *waiting], interrupted=True)
    assert [line for line in lines if line.startswith("softmax")] == ["softmax float32 batch 1 seq 64"]
    assert "interrupted torch (2 jobs): before its first visit" in lines


def test_nothing_measured_is_no_error() -> None:
    assert Pipe().end([], interrupted=True)[-1] == "0 records in 0:00: nothing measured"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_of_the_table_is_wider_than_the_console_and_nothing_is_lost(width: int) -> None:
    arm = Arm("torch", "compiled", "stock", "gpu", "tf32")
    both = [record(block_ns=[5e4] * 9), record(arm, block_ns=[6e4] * 9, limit_fraction=0.25)]
    console = Console(file=io.StringIO(), width=width)
    console.print(table.results(both, width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "slower" in text
    if width >= 60:
        assert text.count("60.0 µs [60.0, 60.0]") == 1
    if width >= 80:
        assert "1.200x [1.200, 1.200]" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_and_words_are_never_broken(width: int) -> None:
    """A verdict that has a reason is long, and so are the names of arms that were set up by hand."""
    arm = Arm("torch", "compiled", "stock", "gpu", "tf32")
    three = [record(block_ns=[5e4] * 9), record(arm, block_ns=blocks(6e4, 1)), record(MLX)]
    with_blocks(three[-1], [[9e4]])
    console = Console(file=io.StringIO(), width=width)
    console.print(table.results(three, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    words = {word for line in lines for word in line.split()}
    assert {"torch", "mlx_compiled", arm.name, "baseline", "inconclusive", "slower"} <= words
    assert len(lines) <= 5 + 3 * 3
    assert max(map(len, lines)) <= width


def test_one_block_is_no_interval() -> None:
    """`228 µs [228, 228]` looks as certain as can be, and is one block."""
    one = record(arm=MLX, block_ns=())
    with_blocks(one, [[228e3]])
    text = "\n".join(Pipe().end([record(block_ns=[1e5] * 9), one]))
    assert "228 µs (1 block)" in text
    assert "[228" not in text
    assert re.search(r"2\.280x inconclusive +\(only 1 round\)", text)


def test_numpy_is_a_baseline_only_where_nothing_else_is() -> None:
    def baseline(*frameworks: str) -> str:
        lines = Pipe().end([record(Arm(name), block_ns=[5.0] * 9) for name in frameworks])
        return next(line for line in lines if line.endswith("baseline") and line.startswith(" ")).split()[0]

    assert baseline("numpy", "torch", "mlx") == "torch"
    assert baseline("numpy") == "numpy"


def test_the_end_says_who_won_and_what_is_open_in_the_words_of_the_engine() -> None:
    apart = [record(TORCH, block_ns=blocks(40_000, 3)), record(MLX, block_ns=blocks(60_000, 4))]
    found = answers.answers(of_records(apart), {"one": "multirun/a"})
    lines = Pipe().end(apart)
    assert found.headline == [
        "Plain shapes, softmax, float32: torch is 1.5x faster [1.5, 1.5] than mlx_compiled (sure)."
    ]
    assert found.headline[0] in lines
    one_round = [record(TORCH), record(MLX)]
    for one, ns in zip(one_round, (1e5, 7e5), strict=True):
        with_blocks(one, [[ns]])
    lines = Pipe().end(one_round)
    assert any("likely 7.0x faster than mlx_compiled (likely: only 1 round)" in line for line in lines)
    assert any("python -m mtbench resume multirun/a --only-inconclusive   (1 cell" in line for line in lines)


def test_the_table_says_how_near_each_arm_comes_to_the_limit_where_one_was_measured() -> None:
    fractions = {TORCH: 0.4321, MLX: None, Arm("numpy"): 0.000321}
    lines = Pipe().end([record(arm, block_ns=[5e4] * 9, limit_fraction=near) for arm, near in fractions.items()])
    (head,) = (line for line in lines if "throughput" in line)
    end = head.index("% of limit") + len("% of limit")
    cells = {
        line.split()[0]: line[:end].rpartition("µs")[2].strip()
        for line in lines
        if line.startswith(" ") and "µs" in line
    }
    assert cells == {"torch": "43 %", "mlx_compiled": "", "numpy": "0.032 %"}
    assert not any("limit" in line for line in Pipe().end([record(block_ns=[5e4] * 9)]))


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1.04, "104 %"), (0.996, "100 %"), (0.0996, "10 %"), (0.071, "7.1 %"), (0.00999, "1 %"), (3.2e-4, "0.032 %")],
)
def test_fractions_are_written_with_two_significant_digits(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_a_console_without_micro_signs_does_not_end_the_sweep() -> None:
    raw = io.BytesIO()
    view = Terminal(Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80))
    view.sweep_finished([record(block_ns=[5e4] * 9)], False)
    assert b"50.0 ?s" in raw.getvalue()


# the live view, in a real terminal


class Screen:
    """A pseudo-terminal of 80 by 24 with an emulator at its other end."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self.console = Console(file=self.file, width=80, height=24, _environ={"TERM": "xterm-256color"})
        self.received = b""
        self.marks = 0
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._changed = threading.Condition()
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other end was closed
                return
            if not data:
                return
            with self._changed:
                self.received += data
                self._stream.feed(data)
                self._changed.notify_all()

    def mark(self) -> int:
        """Waits until all that was written has been read; returns how many bytes that was."""
        self.marks += 1
        mark = f"\x1b]2;mark {self.marks}\x07"  # sets the window's title, which changes nothing on the screen
        self.file.write(mark)
        self.file.flush()
        with self._changed:
            assert self._changed.wait_for(lambda: self.received.endswith(mark.encode()), timeout=240)
            return len(self.received)

    def lines(self) -> list[str]:
        self.mark()
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def cursor_is_visible(self) -> bool:
        self.mark()
        return not self._screen.cursor.hidden

    def close(self) -> None:
        self.file.close()
        self._reader.join(timeout=10)
        os.close(self.master)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def threads(screen: Screen) -> set[threading.Thread]:
    """The threads before there is a view: the screen's reader, and what other tests may have left."""
    return set(threading.enumerate())


@pytest.fixture
def live(screen: Screen, threads: set[threading.Thread], seconds: Seconds) -> Iterator[Terminal]:
    view = Terminal(screen.console, seconds)
    view.sweep_started(Extent(2, [TORCH, MLX], 4, 3, Path("multirun/a")))
    view.restart_started(0)
    yield view
    view._stop()


def test_the_view_shows_position_time_arms_states_and_warnings(
    live: Terminal, screen: Screen, seconds: Seconds
) -> None:
    assert screen.lines()[-1] == "starting workers"
    live.cell_started(cell(), [TORCH, MLX])
    live.arm_preparing(MLX)
    assert [line.split() for line in screen.lines()[-2:]] == [["torch", "waiting"], ["mlx_compiled", "preparing"]]
    live.warn("on battery")
    seconds.now += 6
    live.round_finished(5, 10, {"torch": 41_200.0, "mlx_compiled": 38_000.0})
    lines = screen.lines()
    assert lines[0] == "4 jobs: 2 cells, 2 arms, 3 restarts; records in multirun/a"
    assert lines[1] == "0/2 cells, restart 1/3   0:06 elapsed, about 1:06 left"
    assert lines[3] == "softmax float32 b1_s64   round 5 of 10"
    assert [line.split() for line in lines[4:6]] == [
        ["torch", "41.2", "µs", "measuring"],
        ["mlx_compiled", "38.0", "µs", "measuring"],
    ]
    assert lines[6:] == ["warning: on battery"]


def test_a_line_of_words_is_broken_between_them_and_a_command_is_not(live: Terminal, screen: Screen) -> None:
    live.note("protocol.peaks=measure measures the peak rates of this machine again, which takes a few minutes")
    live.sweep_finished([record(status="interrupted", reason="interrupted before its first visit was finished")], True)
    lines = screen.lines()
    assert "protocol.peaks=measure measures the peak rates of this machine again, which" in lines
    assert "  takes a few minutes" in lines
    assert "Report:  python -m mtbench report multirun/a --open" in lines


def test_the_view_is_drawn_at_most_four_times_a_second_and_never_by_itself(
    live: Terminal, screen: Screen, threads: set[threading.Thread], seconds: Seconds
) -> None:
    live.cell_started(cell(), [TORCH])
    seconds.now += 1
    live.round_finished(1, 1000, {"torch": 1.0})
    drawn = 0
    before = screen.mark()
    for rounds in range(2, 102):  # a second of rounds of 10 ms
        seconds.now += 0.01
        live.round_finished(rounds, 1000, {"torch": 1.0})
        after = screen.mark()
        drawn += b"round" in screen.received[before:after]
        before = after
    assert 3 <= drawn <= 4
    assert set(threading.enumerate()) == threads


def test_the_view_vanishes_at_the_end_and_leaves_the_table(live: Terminal, screen: Screen) -> None:
    live.cell_started(cell(), [TORCH])
    live.arm_preparing(TORCH)
    live.cell_finished(cell())
    live.sweep_finished([record(block_ns=[5e4] * 9)], False)
    lines = screen.lines()
    assert not any("preparing" in line or "elapsed" in line for line in lines)
    assert any("50.0 µs [50.0, 50.0]" in line for line in lines)
    assert screen.cursor_is_visible


def test_the_cursor_is_never_hidden(live: Terminal, screen: Screen) -> None:
    """A process that is killed cannot show it again."""
    live.cell_started(cell(), [TORCH])
    live.arm_preparing(TORCH)
    assert screen.cursor_is_visible


def test_problems_stay_above_the_view(live: Terminal, screen: Screen) -> None:
    live.cell_started(cell(), [TORCH, MLX])
    live.job_recorded(record(MLX, status="crashed", reason="killed by SIGKILL"))
    live.arm_preparing(TORCH)
    lines = screen.lines()
    assert lines[1] == "crashed: mlx_compiled, softmax float32 batch 1 seq 64: killed by SIGKILL"
    assert lines[2].startswith("0/2 cells")


PROGRAM = """
from pathlib import Path
from mtbench.plan.progress import Extent
from mtbench.plan.jobs import Arm
from mtbench.console.terminal import Terminal
view = Terminal()
view.sweep_started(Extent(1, [Arm("torch")], 1, 1, Path("multirun")))
view.restart_started(0)
raise SystemExit(130)
"""


def test_a_process_that_ends_in_the_middle_leaves_the_terminal_sane() -> None:
    screen = Screen()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.DEVNULL,
            stdout=screen.file,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TERM": "xterm-256color"},
            timeout=240,
            check=False,
        )
        assert screen.cursor_is_visible
        assert "starting workers" in screen.received.decode()
        assert screen.lines() == ["1 job: 1 cell, 1 arm, 1 restart; records in multirun"]
    finally:
        screen.close()


def test_lines_reach_a_pipe_at_once() -> None:
    program = PROGRAM.replace("raise SystemExit(130)", "view.warn('here'); import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.kill()
    assert lines == ["1 job: 1 cell, 1 arm, 1 restart; records in multirun\n", "warning: here\n"]


def test_watching_imports_neither_scipy_nor_polars() -> None:
    program = PROGRAM.replace("raise SystemExit(130)", "import sys; print(*sys.modules, sep='\\n')")
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert not {"scipy", "polars", "torch", "mlx", "altair"} & set(printed.stdout.splitlines())
