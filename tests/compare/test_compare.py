"""`mtbench compare`: what is set against what, what is said of it, and when a build fails."""

import csv
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import record_builder
from mtbench.compare import Table, compare, compare_by, formats, gate
from mtbench.compare.sides import read
from mtbench.errors import ConfigError
from mtbench.launch import commands as cli
from mtbench.plain import to_json
from mtbench.results.comparison import Timing, between_sessions
from mtbench.results.record import Record, write
from mtbench.results.samples import blocks
from record_builder import START, with_blocks, with_samples

MACHINE = {"chip": "Apple M3 Pro", "os_version": "15.5", "power_source": "mains"}


def record(arm: str, **values: Any) -> Record:
    """A record that is ok, without times, of a sweep of few settings on a machine of few facts."""
    framework, _, mode = arm.partition("_")
    chosen: dict[str, Any] = {
        "framework": framework, "mode": mode or "eager", "variant": "native", "sweep_id": "first", "library_version": "1.0",
        "machine_id": "abc123", "machine": to_json(MACHINE), "finished_at": START,
        "protocol": to_json({"restarts": 3, "target": 0.01}),
    }  # fmt: skip
    return record_builder.record(arm, **chosen | values)


class Sweep:
    """A folder of records in the making. `noise` is that of a round, shared by its arms, and of a block."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.count = 0

    def add(
        self, arm: str, center: float = 1e5, restarts: tuple[float, ...] = (1, 1, 1), rounds: int = 10, **values: Any
    ) -> Record:
        """A record whose blocks scatter by 0.5 % around `center`, times a factor in each restart."""
        blocks = [[self.rng.gauss(center * factor, 0.005 * center) for _ in range(rounds)] for factor in restarts]
        return self.put(with_blocks(record(arm, **values), blocks))

    def put(self, found: Record) -> Record:
        self.count += 1
        write(found, self.folder / found.arm / f"{self.count}")
        return found


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    return lambda name, seed=0: Sweep(tmp_path / name, seed)


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.app(["compare", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


def outcomes(table: Table) -> dict[str, str]:
    return {row.arms: row.outcome for row in table.rows}


# what is set against what


def test_two_arms_of_one_sweep_are_compared_round_by_round(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("torch_compiled", 0.8e5)
    table = compare(f"{here.folder}:torch", f"{here.folder}:torch_compiled")
    (row,) = table.rows
    assert (row.outcome, row.arms) == ("faster", "torch -> torch_compiled")
    assert row.ratio == pytest.approx(0.8, rel=0.01)
    assert row.comparison is not None
    assert row.comparison.pairs == 30


def test_a_shared_disturbance_does_not_hide_a_difference_in_pairs(sweep: Callable[..., Sweep]) -> None:
    here, rng = sweep("a"), random.Random(3)
    weather = [[rng.uniform(1, 3) for _ in range(10)] for _ in range(3)]
    here.put(with_blocks(record("torch"), [[1e5 * w for w in restart] for restart in weather]))
    here.put(with_blocks(record("mlx"), [[1.04e5 * w for w in restart] for restart in weather]))
    (row,) = compare(f"{here.folder}:torch", f"{here.folder}:mlx").rows
    assert row.outcome == "slower"
    assert row.ratio == pytest.approx(1.04, rel=1e-3)


def test_two_sweeps_are_matched_by_cell_and_arm_and_get_no_verdict(sweep: Callable[..., Sweep]) -> None:
    before, after = sweep("a"), sweep("b", 1)
    for there, name, center in ((before, "first", 1e5), (after, "second", 1.2e5)):
        for arm in ("torch", "mlx"):
            for seq_len in (64, 128):
                there.add(arm, center, sweep_id=name, seq_len=seq_len)
    table = compare(str(before.folder), str(after.folder))
    assert [(row.record.seq_len, row.arms, row.outcome) for row in table.rows] == [
        (64, "mlx", "descriptive"), (64, "torch", "descriptive"), (128, "mlx", "descriptive"), (128, "torch", "descriptive"),
    ]  # fmt: skip
    assert all(
        row.comparison and not row.comparison.interleaved and row.ratio == pytest.approx(1.2, rel=0.01)
        for row in table.rows
    )
    assert table.geometric_mean == pytest.approx(1.2, rel=0.01)


def test_one_named_arm_is_looked_for_on_the_other_side(sweep: Callable[..., Sweep]) -> None:
    before, after = sweep("a"), sweep("b")
    for there, name in ((before, "first"), (after, "second")):
        there.add("torch", sweep_id=name)
        there.add("mlx", sweep_id=name)
    assert outcomes(compare(f"{before.folder}:mlx", str(after.folder))) == {"mlx": "descriptive"}


def test_what_is_on_one_side_only_is_listed(sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = sweep("a"), sweep("b")
    before.add("torch")
    before.add("mlx")
    before.add("torch", seq_len=999)
    after.add("torch", sweep_id="second")
    after.add("numpy", sweep_id="second")
    table = compare(str(before.folder), str(after.folder))
    found = {(row.record.seq_len, row.arms): row.outcome for row in table.rows}
    assert found == {
        (64, "torch"): "descriptive", (64, "mlx"): "only in A", (999, "torch"): "only in A", (64, "numpy"): "only in B",
    }  # fmt: skip
    code, out, _ = run(str(before.folder), str(after.folder), "--fail-if-slower", "5%", capsys=capsys)
    assert code == 0
    assert "1 descriptive, 2 only in A, 1 only in B" in out
    assert "999" in out


def test_the_newest_record_of_a_job_counts_and_older_ones_are_told(sweep: Callable[..., Sweep]) -> None:
    before, after = sweep("a"), sweep("b")
    before.add("torch")
    after.add("torch", 9e5, sweep_id="second", finished_at=START + timedelta(days=1))
    after.add("torch", 2e5, sweep_id="third", finished_at=START + timedelta(days=3))
    after.add("torch", 8e5, sweep_id="fourth", finished_at=START + timedelta(days=2))
    table = compare(str(before.folder), str(after.folder))
    assert table.rows[0].ratio == pytest.approx(2, rel=0.01)
    assert table.notes == ["2 older records of the same jobs were left out"]


def test_of_many_sweeps_the_newest_that_measured_both_is_taken(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    for day, name in enumerate(("first", "second")):
        for arm in ("torch", "mlx"):
            here.add(arm, sweep_id=name, finished_at=START + timedelta(days=day))
    here.add("mlx", 5e5, sweep_id="third", finished_at=START + timedelta(days=9))
    (row,) = compare(f"{here.folder}:torch", f"{here.folder}:mlx").rows
    assert row.comparison is not None
    assert (row.comparison.interleaved, row.record.sweep_id) == (True, "second")


@pytest.mark.parametrize("change", [{"paired": False}, {"machine_id": "other"}, {"sweep_id": "second"}])
def test_what_was_not_interleaved_gets_no_verdict(sweep: Callable[..., Sweep], change: dict[str, Any]) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("mlx", 5e5, **change)
    assert outcomes(compare(f"{here.folder}:torch", f"{here.folder}:mlx")) == {"torch -> mlx": "descriptive"}


def test_records_that_are_not_ok_show_their_status_and_no_ratio(
    sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    here = sweep("a")
    here.add("torch")
    here.put(record("mlx", status="crashed", reason="signal 9"))
    broken = with_blocks(record("torch", seq_len=128), [[1e5] * 8] * 2)
    broken.status, broken.latency_ns = "mismatch", None
    here.put(broken)
    here.add("mlx", seq_len=128)
    table = compare(f"{here.folder}:torch", f"{here.folder}:mlx", metric="throughput")
    assert [row.ratio for row in table.rows] == [None, None]
    _, out, _ = run(f"{here.folder}:torch", f"{here.folder}:mlx", capsys=capsys)
    assert "crashed" in out
    assert "mismatch" in out
    assert "2 not compared" in out


# what is said of it


def test_verdicts_survive_the_number_of_cells_or_are_not_given(sweep: Callable[..., Sweep]) -> None:
    """One restart: a deviation of 5 % is assumed for each process, so 30 % has p = 3.4 %."""
    few = {"restarts": (1,), "rounds": 7}
    here = sweep("a")
    for seq_len in (64, 128, 256, 512):
        here.add("torch", seq_len=seq_len, **few)
        here.add("mlx", 1.3e5, seq_len=seq_len, **few)
    table = compare(f"{here.folder}:torch", f"{here.folder}:mlx")
    assert {row.outcome for row in table.rows} == {"inconclusive"}
    assert [row.comparison.p_value for row in table.rows if row.comparison] == pytest.approx([0.136] * 4, rel=0.1)


def test_comparisons_with_too_few_rounds_for_any_verdict_are_counted(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch", restarts=(1,), rounds=5)
    here.add("mlx", 5e5, restarts=(1,), rounds=5)
    table = compare(f"{here.folder}:torch", f"{here.folder}:mlx")
    assert [row.outcome for row in table.rows] == ["inconclusive"]
    assert "1 of 1 comparisons have too few rounds for a verdict" in table.notes


def test_the_threshold_decides_what_counts_as_equal(
    sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("mlx", 1.03e5)
    selections = f"{here.folder}:torch", f"{here.folder}:mlx"
    assert compare(*selections).rows[0].outcome == "slower"
    code, out, _ = run(*selections, "--threshold", "5%", capsys=capsys)
    assert code == 0
    assert "1 inconclusive" in out  # surely different, and surely by less than matters
    assert "the least difference that matters is 5 %" in out
    here.add("jax", restarts=(1, 0.98, 1.02))
    selections = f"{here.folder}:torch", f"{here.folder}:jax"
    assert compare(*selections).rows[0].outcome == "inconclusive"
    assert compare(*selections, threshold=0.1).rows[0].outcome == "equivalent"


def test_what_else_differs_stands_above_the_table(
    sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = sweep("a"), sweep("b")
    for seq_len in (64, 128):
        before.add("mlx", seq_len=seq_len, library_version="0.31.0")
        before.add("torch", seq_len=seq_len)
    changes = {"protocol": to_json({"restarts": 5, "target": 0.01, "baseline": "mlx"}), "sweep_id": "second"}
    on_battery = to_json([{"power_source": "battery", "load": 0.1}])
    for seq_len in (64, 128):
        after.add("mlx", seq_len=seq_len, library_version="0.32.4", conditions=on_battery, **changes)
    after.add("torch", seq_len=64, verify_tolerance=1e-4, machine=to_json(MACHINE | {"os_version": "15.6"}), **changes)
    after.add("torch", seq_len=128, machine_id="def456", machine=to_json(MACHINE | {"chip": "Apple M4"}), **changes)
    table = compare(str(before.folder), str(after.folder))
    assert list(map(str, table.differences)) == [
        "machine Apple M3 Pro (abc123) -> Apple M4 (def456) (1 of 4)",
        "os_version 15.5 -> 15.6 (1 of 3)",
        "power source mains -> battery (2 of 4)",
        "mlx 0.31.0 -> 0.32.4",
        "protocol.restarts 3 -> 5",
        "tolerance of softmax float32 1e-05 -> 0.0001 (1 of 4)",
    ]
    _, out, _ = run(str(before.folder), str(after.folder), capsys=capsys)
    lines = out.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("cell"))
    assert lines.index("note: mlx 0.31.0 -> 0.32.4") < header
    assert sum(line.startswith("softmax float32 batch 1 seq 64 ") for line in lines) == 1, "a row is one line in a pipe"


def test_two_arms_of_one_library_in_two_versions_say_so(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("mlx", library_version="0.32.4")
    here.put(with_blocks(record("mlx-0.31.0", framework="mlx", library_version="0.31.0"), [[1e5] * 8] * 2))
    table = compare(f"{here.folder}:mlx-0.31.0", f"{here.folder}:mlx")
    assert list(map(str, table.differences)) == ["mlx 0.31.0 -> 0.32.4"]


def test_a_descriptive_interval_is_as_wide_as_the_restarts_differed(sweep: Callable[..., Sweep]) -> None:
    steady, moody = sweep("a"), sweep("b")
    steady.add("torch")
    moody.add("torch", restarts=(0.99, 1, 1.01), sweep_id="second")
    (one,), (other,) = read(str(steady.folder), "latency").measured, read(str(moody.folder), "latency").measured
    assert one.timing is not None
    assert other.timing is not None
    narrow, wide = between_sessions(one.timing), between_sessions(other.timing)
    assert narrow is not None
    assert wide is not None
    assert narrow.high / narrow.low < 1.03
    student = 1 + 4.30 * 0.01 / 3**0.5
    assert wide.low == pytest.approx(one.ns / student, rel=0.007)
    assert wide.high == pytest.approx(one.ns * student, rel=0.007)
    (row,) = compare(str(steady.folder), str(moody.folder)).rows
    assert row.comparison is not None
    assert row.comparison.bounds == pytest.approx((1 / student, student), rel=0.015)


def test_equal_things_in_two_sessions_differ_in_their_descriptive_intervals_rarely(tmp_path: Path) -> None:
    """However few the restarts: here each has a speed of its own, 5 % apart."""
    rng, pairs = random.Random(0), 400
    for restarts, most in ((1, 0.05), (2, 0.06), (3, 0.03), (5, 0.02)):
        apart = 0
        for _ in range(pairs):
            sides = []
            for _ in range(2):
                speeds = [rng.gauss(1, 0.05) for _ in range(restarts)]
                sides.append([[1e5 * speed + rng.gauss(0, 300) for _ in range(8)] for speed in speeds])
            a, b = (_bounds(side) for side in sides)
            apart += a[1] < b[0] or b[1] < a[0]
        assert apart / pairs <= most, restarts


def _bounds(restarts: list[list[float]]) -> tuple[float, float]:
    one = with_samples(record("torch"), [[[round(ns)] for ns in rounds] for rounds in restarts], [])
    found = between_sessions(Timing.of(vars(one), "latency", blocks(one, "latency")))
    assert found is not None
    return found.low, found.high


def test_one_restart_only_is_taken_for_less_and_said(sweep: Callable[..., Sweep]) -> None:
    before, after = sweep("a"), sweep("b")
    before.add("torch", restarts=(1,))
    after.add("torch", 1.1e5, restarts=(1,), sweep_id="second")
    table = compare(str(before.folder), str(after.folder), limit=0.05)
    assert table.failures == []
    assert any("only one restart, so a spread of 12 % between restarts is assumed" in note for note in table.notes)


def test_throughput_and_device_times_can_be_compared_as_well(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch", device_ns=1e4)
    here.add("mlx", 2e5, device_ns=3e4)
    selections = f"{here.folder}:torch", f"{here.folder}:mlx"
    (row,) = compare(*selections, metric="throughput").rows
    assert row.outcome == "slower"
    assert row.a is not None
    assert row.a.ns == pytest.approx(5e4, rel=0.01)
    (row,) = compare(*selections, metric="device").rows
    assert row.comparison is not None
    assert (row.outcome, row.ratio, row.comparison.bounds) == ("descriptive", 3.0, None)


def test_a_drift_of_the_machine_is_noted(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch", warnings=["drifted: the canary changed by +3.0 % over a restart"])
    here.add("mlx")
    table = compare(f"{here.folder}:torch", f"{here.folder}:mlx")
    assert table.notes == ["the machine drifted during 1 of 1 jobs of A"]


def test_a_terminal_too_narrow_for_columns_gets_rows_below_each_other(sweep: Callable[..., Sweep]) -> None:
    """One letter a line, and 200 lines for 4 rows, was what names of models made of it."""
    here = sweep("a")
    here.add("torch", model="smollm2_135m", operator="transformer_decoder_layer")
    here.add("torch_compiled", 1.5e5, model="smollm2_135m", operator="transformer_decoder_layer")
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    formats.show(compare(f"{here.folder}:torch", f"{here.folder}:torch_compiled"), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    start = lines.index(" torch -> torch_compiled")
    assert "transformer_decoder_layer smollm2_135m float32" in "\n".join(lines[:start])
    assert re.fullmatch(r"   A \S+ µs \[\S+ \S+\]   B 1\d\d µs \[\S+ \S+\]", lines[start + 1])
    assert re.fullmatch(r"   1\.\d+x \[\S+ \S+\] slower", lines[start + 2])
    assert len(lines) < 20


def test_a_mean_is_given_of_one_dtype_and_regime_only(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("mlx", 2e5)
    assert compare(f"{here.folder}:torch", f"{here.folder}:mlx").geometric_mean == pytest.approx(2, rel=0.05)
    here.add("torch", dtype="bfloat16")
    here.add("mlx", 2e5, dtype="bfloat16")
    found = compare(f"{here.folder}:torch", f"{here.folder}:mlx")
    assert found.geometric_mean is None
    assert "geometric mean" not in formats.summary(found)


def test_a_narrow_terminal_gets_intervals_below_their_estimates(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("torch_compiled", 1.5e5)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    formats.show(compare(f"{here.folder}:torch", f"{here.folder}:torch_compiled"), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    (first,) = (number for number, line in enumerate(lines) if "slower" in line and "x" in line and "µs" in line)
    assert lines[first + 1].count("[") == lines[first + 1].count("]") == 3


# along an axis


def test_records_of_one_folder_are_compared_along_an_axis(
    sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    here = sweep("a")
    for minute, (dtype, center) in enumerate((("float32", 1e5), ("bfloat16", 0.5e5), ("float16", 0.6e5))):
        for arm in ("torch", "mlx"):
            here.add(arm, center, dtype=dtype, started_at=START + timedelta(minutes=minute))
    here.add("torch", dtype="float32", seq_len=128)  # alone
    table = compare_by(str(here.folder), "dtype")
    assert [(row.arms, row.outcome) for row in table.rows] == [
        ("mlx cpu: float32 -> bfloat16", "descriptive"), ("mlx cpu: float32 -> float16", "descriptive"),
        ("torch cpu: float32 -> bfloat16", "descriptive"), ("torch cpu: float32 -> float16", "descriptive"),
    ]  # fmt: skip
    assert [row.ratio for row in table.rows] == pytest.approx([0.5, 0.6] * 2, rel=0.01)
    assert all(row.comparison and row.comparison.bounds for row in table.rows)
    code, out, _ = run(str(here.folder), "--by", "dtype", capsys=capsys)
    assert code == 0
    assert f"A: {here.folder}, dtype float32" in out
    assert f"B: {here.folder}, dtype bfloat16, float16" in out
    assert "softmax batch 1 seq 64 " in out
    assert "tolerance" not in out


@pytest.mark.parametrize(
    ("axis", "first", "second", "names"),
    [
        ("operator.params.bits", {"params": '{"bits": 8}'}, {"params": '{"bits": 4}'}, "torch cpu: 8 -> 4"),
        ("framework", {}, {"arm": "mlx", "framework": "mlx", "library_version": "2"}, "torch -> mlx"),
        (
            "operator.variant",
            {},
            {"arm": "torch-stock", "framework": "torch", "variant": "stock"},
            "torch cpu: native -> stock",
        ),
        ("device", {}, {"device": "gpu"}, "torch: cpu -> gpu"),
        ("shape.seq_len", {}, {"seq_len": 128}, "torch cpu: 64 -> 128"),
    ],
)
def test_any_axis_will_do(
    sweep: Callable[..., Sweep], axis: str, first: dict[str, Any], second: dict[str, Any], names: str
) -> None:
    here = sweep("a")
    for minute, values in enumerate((first, second)):
        values = {
            "arm": "torch",
            "center": 1e5 * (minute + 1),
            "started_at": START + timedelta(minutes=minute),
        } | values
        here.add(**values)
    (row,) = compare_by(str(here.folder), axis).rows
    assert row.arms == names
    assert row.ratio == pytest.approx(2, rel=0.01)


def test_an_axis_whose_values_competed_gets_verdicts(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    for dtype, center in (("float32", 1e5), ("bfloat16", 0.5e5)):
        here.add(f"torch-{dtype}", center, framework="torch", dtype=dtype, contenders=["framework", "dtype"])
    (row,) = compare_by(str(here.folder), "dtype").rows
    assert (row.arms, row.outcome) == ("torch cpu: bfloat16 -> float32", "slower")  # without a start, by their paths


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{a} --by dtypes", "No axis 'dtypes'. Did you mean 'dtype'? Known: "),
        ("{a} --by operator.params.bits", "No axis 'operator.params.bits'."),
        ("{a} --by dtype", "All records have the same dtype, float32; nothing to compare."),
        ("{a} --by shape.seq_len", "No two records differ in shape.seq_len alone."),
        ("{a}", "Give a second folder to compare A with, or --by and an axis"),
        ("{a} {a} --by dtype", "Give a second folder to compare A with, or --by and an axis"),
    ],
)
def test_an_axis_that_cannot_be_compared_is_refused_in_a_line(
    sweep: Callable[..., Sweep], arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = sweep("a")
    here.add("torch")
    here.add("mlx", seq_len=128)
    code, out, err = run(*arguments.format(a=here.folder).split(), capsys=capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


# forms for programs


@pytest.fixture
def mixed(sweep: Callable[..., Sweep]) -> tuple[str, str]:
    """A slower cell, one that broke, and one on one side only."""
    here = sweep("a")
    here.add("torch")
    here.add("mlx", 1.5e5)
    here.add("torch", seq_len=128)
    here.put(record("mlx", seq_len=128, status="crashed", reason="signal 9"))
    here.add("torch", seq_len=256)
    return f"{here.folder}:torch", f"{here.folder}:mlx"


def test_json_holds_everything_and_nothing_else(mixed: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(*mixed, "--format", "json", "--fail-if-slower", "5%", capsys=capsys)
    found = json.loads(out)
    assert code == 1
    assert len(err.splitlines()) == 2
    assert list(found) == [
        "layout", "a", "b", "metric", "fail_if_slower", "differences", "notes", "summary", "rows",
    ]  # fmt: skip
    assert (found["layout"], found["metric"], found["fail_if_slower"]) == (1, "latency", 0.05)
    assert found["a"]["arm"] == "torch"
    assert found["summary"]["slower"] == found["summary"]["not compared"] == found["summary"]["only in A"] == 1
    assert found["summary"]["failures"] == 2
    slower, broken, alone = found["rows"]
    assert slower["params"] == {"embed_dim": 768}
    assert (slower["kind"], slower["outcome"]) == ("paired", "slower")
    assert slower["ratio_low"] < slower["ratio"] < slower["ratio_high"]
    assert slower["ratio"] == pytest.approx(slower["b_ns"] / slower["a_ns"], rel=0.01)
    assert (broken["a_status"], broken["b_status"], broken["ratio"]) == ("ok", "crashed", None)
    assert (alone["a_status"], alone["b_status"], alone["outcome"]) == ("ok", None, "only in A")


def test_json_has_no_infinity(sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]) -> None:
    here = sweep("a")
    here.add("torch", restarts=(1,), rounds=3)
    here.add("mlx", 2e5, restarts=(1,), rounds=3)
    _, out, _ = run(f"{here.folder}:torch", f"{here.folder}:mlx", "--format", "json", capsys=capsys)
    (row,) = json.loads(out, parse_constant=pytest.fail)["rows"]
    assert (row["outcome"], row["pairs"], row["smallest_detectable"]) == ("inconclusive", 3, None)


COLUMNS = (
    "cell_id,operator,params,dtype,batch_size,seq_len,kv_len,a_arm,a_status,a_ns,a_low_ns,a_high_ns,b_arm,b_status,b_ns,"
    "b_low_ns,b_high_ns,outcome,doubt,kind,ratio,ratio_low,ratio_high,ratio_confidence,p_value,pairs,smallest_detectable,"
    "threshold,failure"
)


def test_csv_has_fixed_columns_and_a_row_for_each_pair(
    mixed: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(*mixed, "--format", "csv", capsys=capsys)
    assert code == 0
    assert out.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["outcome"] for row in rows] == ["slower", "not compared", "only in A"]
    assert rows[1]["ratio"] == ""


def test_markdown_is_a_table_with_its_summary(mixed: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(*mixed, "--format", "markdown", capsys=capsys)
    lines = out.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| cell | arm | A | B | B / A | verdict |"
    assert len(rows) == 2 + 3
    assert {line.count("|") for line in rows} == {7}
    assert lines[-1].startswith("3 rows: 1 slower, 1 not compared, 1 only in A; geometric mean of 1 ratio: 1.5")


# the gate


def gated(a: Any, b: Any, limit: float = 0.05) -> list[str | None]:
    return [row.failure for row in compare(str(a), str(b), limit=limit).rows]


def test_interleaved_the_gate_fails_a_slowdown_beyond_the_limit_and_nothing_less(sweep: Callable[..., Sweep]) -> None:
    for factor, failure in ((0.5, None), (1, None), (1.03, None), (1.05, None), (1.1, "slower by more than 5 %")):
        here = sweep(f"{factor}")
        here.add("torch")
        here.add("mlx", factor * 1e5)
        assert gated(f"{here.folder}:torch", f"{here.folder}:mlx") == [failure], factor


def test_the_gate_corrects_for_all_rows_of_its_table(sweep: Callable[..., Sweep]) -> None:
    """Three restarts whose ratio is 1.1 with a deviation of 4 %, p = 4.5 %, are enough for each operator alone, and not for
    four of them at once."""
    here = sweep("a")
    for operator in ("mha", "relu", "silu", "softmax"):
        for arm, restarts in (("torch", (1.0, 1.0, 1.0)), ("mlx", (1.06, 1.10, 1.14))):
            here.put(with_blocks(record(arm, operator=operator), [[1e5 * factor] * 7 for factor in restarts]))
    table = compare(f"{here.folder}:torch", f"{here.folder}:mlx", limit=0.0)
    assert [(row.outcome, row.failure) for row in table.rows] == [("slower", None)] * 4


def test_one_bad_restart_does_not_fail_the_gate(sweep: Callable[..., Sweep]) -> None:
    here = sweep("a")
    here.add("torch", rounds=20)
    here.add("mlx", restarts=(1.3, 1.3, 1.0), rounds=20)
    selections = f"{here.folder}:torch", f"{here.folder}:mlx"
    (row,) = compare(*selections).rows
    assert row.ratio is not None
    assert row.ratio > 1.1
    assert row.outcome == "inconclusive"
    assert gated(*selections) == [None]


def test_across_sweeps_the_gate_fails_only_what_the_widened_intervals_leave_no_doubt_of(
    sweep: Callable[..., Sweep],
) -> None:
    before = sweep("a")
    before.add("torch")
    for name, center, restarts, failure in (
        ("same", 1e5, (1, 1, 1), None),
        ("slower", 1.2e5, (1, 1, 1), "slower by more than 5 %"),
        ("slower or moody", 1.2e5, (0.9, 1, 1.1), None),
    ):
        after = sweep(name)
        after.add("torch", center, restarts, sweep_id="second")
        assert gated(before.folder, after.folder) == [failure], name


def test_what_was_ok_and_is_no_more_fails_the_gate(mixed: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(*mixed, "--fail-if-slower", "60%", capsys=capsys)
    assert code == 1
    assert err == "mtbench compare: softmax float32 batch 1 seq 128, torch -> mlx: ok in A, crashed in B\n"
    code, _, err = run(*reversed(mixed), "--fail-if-slower", "60%", capsys=capsys)
    assert (code, err) == (0, "")


def test_another_machine_is_not_judged(sweep: Callable[..., Sweep]) -> None:
    before, after = sweep("a"), sweep("b")
    for seq_len in (64, 128):
        before.add("torch", seq_len=seq_len)
    after.add("torch", 9e5, sweep_id="second", machine_id="other")
    with pytest.raises(ConfigError, match="can judge no cell: measured on different machines"):
        gated(before.folder, after.folder)
    after.add("torch", seq_len=128, sweep_id="second")
    table = compare(str(before.folder), str(after.folder), limit=0.05)
    assert table.failures == []
    assert "1 not judged by the gate: measured on different machines" in table.notes


@pytest.mark.parametrize("name", ["latency", "device"])
def test_a_gate_without_an_interval_to_go_by_is_a_mistake(sweep: Callable[..., Sweep], name: str) -> None:
    before, after = sweep("a"), sweep("b")
    before.add("torch", restarts=(1,), rounds=1, device_ns=1e4)
    after.add("torch", 9e5, restarts=(1,), rounds=1, device_ns=9e4, sweep_id="second")
    with pytest.raises(ConfigError, match="can judge no cell: no interval"):
        compare(str(before.folder), str(after.folder), metric=name, limit=0.05)


def test_a_gate_does_not_pass_what_was_measured_too_briefly_to_judge(sweep: Callable[..., Sweep]) -> None:
    here, after = sweep("a"), sweep("b")
    here.add("torch", restarts=(1,), rounds=4)
    here.add("mlx", 9e5, restarts=(1,), rounds=4)
    after.add("torch", 9e5, restarts=(1,), rounds=4, sweep_id="second")
    for selections in ((f"{here.folder}:torch", f"{here.folder}:mlx"), (f"{here.folder}:torch", str(after.folder))):
        with pytest.raises(ConfigError, match="can judge no cell: too few blocks"):
            gated(*selections)


@pytest.mark.parametrize(
    ("text", "value"), [("5%", 0.05), ("0.05", 0.05), (" 2.5 % ", 0.025), ("150%", 1.5), ("0", 0.0), ("0%", 0.0)]
)
def test_a_percentage_is_read(text: str, value: float) -> None:
    assert gate.fraction(text, "--fail-if-slower") == pytest.approx(value)


# usage errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{a} nowhere", "There is no folder nowhere."),
        ("{a} nowhere:torch", "There is no folder nowhere."),
        ("{a} {empty}", "No records under"),
        ("{a}:tosch {b}:torch", "No arm 'tosch'. Did you mean 'torch'?"),
        ("{a}:mlx {b}", "No arm 'mlx'. Known: torch."),
        ("{a} {a}", "are the same records; name an arm on each side"),
        ("{a}:torch {a}", "are the same records"),
        ("{a} {other}", "have no cell in common"),
        ("{only_mlx} {b}", "have no arm in common (mlx; torch); name one on each side"),
        ("{a} {b} --format jsn", "No format 'jsn'. Did you mean 'json'?"),
        ("{a} {b} --metric latencies", "No metric 'latencies'. Did you mean 'latency'?"),
        ("{a} {b} --metric device", "No cell has a device time on both sides."),
        ("{a} {b} --fail-if-slower 5", "--fail-if-slower 5: give a percentage such as 5%"),
        ("{a} {b} --fail-if-slower -5%", "--fail-if-slower -5%: give a percentage"),
        ("{a} {b} --fail-if-slower inf%", "--fail-if-slower inf%: give a percentage"),
        ("{a} {b} --threshold lots", "--threshold lots: give a percentage"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    sweep: Callable[..., Sweep], tmp_path: Path, arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep("a").add("torch")
    sweep("a").put(record("mlx", seq_len=999))
    sweep("b").add("torch", sweep_id="second")
    sweep("other").add("torch", operator="mha", sweep_id="third")
    sweep("only_mlx").add("mlx", sweep_id="fourth")
    (tmp_path / "empty").mkdir()
    folders = {name: tmp_path / name for name in ("a", "b", "empty", "other", "only_mlx")}
    code, out, err = run(*arguments.format_map(folders).split(), capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("mtbench compare: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_folder_may_have_a_colon_in_its_name(sweep: Callable[..., Sweep]) -> None:
    here = sweep("07:00:00")
    here.add("torch")
    here.add("mlx")
    assert read(str(here.folder), "latency").arms == ["mlx", "torch"]
    assert read(f"{here.folder}:mlx", "latency").arm == "mlx"


def test_a_broken_file_is_named_and_costs_nothing_else(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    before, after = sweep("a"), sweep("b")
    before.add("torch")
    after.add("torch", sweep_id="second")
    broken = after.folder / "broken" / "record.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"PAR1 and then the disk was full")
    table = compare(str(before.folder), str(after.folder))
    assert outcomes(table) == {"torch": "descriptive"}
    (note,) = table.notes
    assert str(broken) in note


# real runs

OPERATOR = '''
"""Doubles its input; the variant `slow` takes its time."""
import time
from dataclasses import dataclass
from mtbench.operators.base import Operator, array_bytes

@dataclass(frozen=True)
class Doubling(Operator):
    def inputs(self, rng, shape):
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape):
        return float(shape.batch_size * shape.seq_len)

    def bytes_moved(self, shape, dtype):
        return array_bytes({"x": (shape.batch_size, shape.seq_len)}, dtype)

    def portable(self, xp, w, x):
        return 2 * x

    def numpy(self, w):
        return lambda x: 2 * x

    def numpy_slow(self, w):
        def call(x):
            time.sleep(0.0002)
            return 2 * x
        return call
'''


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sweeps: one of an operator in two forms, and another operator twice."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "mine" / "operator").mkdir(parents=True)
    (folder / "mine" / "operator" / "doubling.py").write_text(OPERATOR)
    (folder / "mine" / "operator" / "doubling.yaml").write_text("# doubles\nname: doubling\nvariant: native\n")
    brief = ["framework=numpy", "sweep=none", "protocol=quick", "protocol.block_ms=2", "protocol.warmup_cap_s=0.5"]
    slowed = ["operator=doubling", "operator.variant=native,slow", "shape.seq_len=8"]
    steady = ["operator=softmax", "shape.seq_len=4,8"]
    for name, what in (("slowed", slowed), ("once", steady), ("again", steady)):
        command = ["--config-dir", "mine", *brief, *what, f"hydra.sweep.dir={name}", "-m"]
        done = subprocess.run(
            [sys.executable, "-m", "mtbench", *command], cwd=folder, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtbench", "compare", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_same_sweep_twice_is_no_regression(measured: Path) -> None:
    done = command(measured, "once", "again", "--fail-if-slower", "50%")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 rows: 2 descriptive" in done.stdout


def test_a_slowed_operator_is_called_slower_and_fails_the_build(measured: Path) -> None:
    done = command(measured, "slowed:numpy", "slowed:numpy-slow", "--fail-if-slower", "50%")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 row: 1 slower" in done.stdout
    assert "numpy -> numpy-slow: slower by more than 50 %" in done.stderr
    back = command(measured, "slowed:numpy-slow", "slowed:numpy", "--fail-if-slower", "50%")
    assert back.returncode == 0
    assert "1 row: 1 faster" in back.stdout
