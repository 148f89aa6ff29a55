"""Terminal, compare and report show the same numbers and the same verdict of the same records, to the digit."""

import io
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mtbench import compare as comparison
from mtbench.compare import formats
from mtbench.console import table
from mtbench.exchange import github_action_benchmark
from mtbench.exchange.table import as_csv, as_markdown
from mtbench.plain import to_json
from mtbench.report import build, roofline, tables
from mtbench.results.answers import answers
from mtbench.results.answers.contests import of_records
from mtbench.results.comparison import between
from mtbench.results.format import ratio
from mtbench.results.record import Record, write
from mtbench.results.verdicts import VERDICTS
from record_builder import Grid, measured, with_blocks, with_samples, write_grid
from record_builder import record as plain_record
from written_report import charts as specs

SHOWN = re.compile(rf"(\S+x \[\S+, \S+\])\s+({'|'.join(VERDICTS)})\s*$")

Numbers = list[tuple[str, str]]  # a ratio with its bounds, and a verdict


def written(folder: Path, records: Sequence[Record]) -> Path:
    for number, one in enumerate(records):
        write(one, folder / f"{number}")
    return folder


def in_terminal(records: Sequence[Record]) -> Numbers:
    console = Console(file=io.StringIO(), width=200)
    console.print(table.results(records, 200))
    return of_lines(console)


def in_compare(a: str, b: str) -> Numbers:
    console = Console(file=io.StringIO(), width=400)
    formats.show(comparison.compare(a, b), console)
    return of_lines(console)


def of_lines(console: Console) -> Numbers:
    assert isinstance(console.file, io.StringIO)
    found = [SHOWN.search(line) for line in console.file.getvalue().splitlines()]
    return [(one[1], one[2]) for one in found if one]


def in_report(folders: Sequence[Path], out: Path, a: str, b: str) -> Numbers:
    """What the tooltips of the ratio charts say of one pair of contenders, in the order of cells."""
    build(folders, out)
    cells = [cell for cell in compared(out) if (cell["a"], cell["b"]) == (a, b)]
    cells.sort(key=lambda cell: (cell["dtype"], cell["batch_size"], cell["seq_len"]))
    return [(cell["bounds"].removeprefix("ratio ").partition(" at ")[0], cell["verdict"]) for cell in cells]


def compared(report: Path) -> list[dict[str, Any]]:
    """All pairs in a report's ratio charts."""
    charts = [spec for name, spec in specs(report / "softmax.html").items() if name.endswith("-latency-ratio")]
    return [cell for chart in charts for cell in chart["datasets"]["cells"]]


def sweep(arms: Sequence[str], seed: int = 0, **values: Any) -> list[Record]:
    """The arms in two cells, with 1 % of noise and restarts that differ as much."""
    rng = random.Random(seed)
    found = [measured(arm, rng, seq_len=seq_len, **values) for seq_len in (64, 128) for arm in arms]
    return [with_samples(one, *shifted(one, rng)) for one in found]


def shifted(one: Record, rng: random.Random) -> tuple[list[list[list[int]]], list[list[float]]]:
    speeds = [rng.gauss(1, 0.01) for _ in one.latency_samples_ns]
    latency = [
        [[int(ns * speed) for ns in calls] for calls in rounds]
        for speed, rounds in zip(speeds, one.latency_samples_ns, strict=True)
    ]
    return latency, one.throughput_samples_ns


def test_of_two_arms_of_one_sweep(tmp_path: Path) -> None:
    folder = written(tmp_path / "one", records := sweep(("mlx", "torch"), clock_tick_ns=500.0))
    shown = in_terminal(records)
    assert len(shown) == 2
    assert shown != in_terminal(sweep(("mlx", "torch")))  # what a clock's tick can hide is within the bounds
    assert {verdict for _, verdict in shown} == {"faster"}
    assert in_compare(f"{folder}:mlx", f"{folder}:torch") == shown
    assert in_report([folder], tmp_path / "out", "mlx", "torch") == shown


def test_of_two_arms_with_the_spread_of_earlier_sweeps(tmp_path: Path) -> None:
    columns = {"earlier_spread": 0.002, "earlier_df": 6.0, "earlier_ratio_spread": 0.003, "earlier_ratio_df": 6.0}
    folder = written(tmp_path / "one", records := sweep(("mlx", "torch"), **columns))
    shown, alone = in_terminal(records), in_terminal(plain := sweep(("mlx", "torch")))
    assert len(shown) == 2
    assert not {text for text, _ in shown} & {text for text, _ in alone}
    assert in_compare(f"{folder}:mlx", f"{folder}:torch") == shown
    assert in_report([folder], tmp_path / "out", "mlx", "torch") == shown
    for one, other in ((records, plain), (records[2:], plain[2:])):
        informed, usual = between(*one[:2]), between(*other[:2])
        assert informed is not None
        assert usual is not None
        assert (informed.p_value, informed.spread_of_earlier, usual.spread_of_earlier) == (usual.p_value, True, False)
    said = "with the spread of earlier sweeps"
    assert all(cell["bounds"].endswith(f"confidence, {said}") for cell in compared(tmp_path / "out"))
    assert comparison.compare(f"{folder}:mlx", f"{folder}:torch").notes == [f"2 of 2 ratios have intervals {said}"]
    caveat = f"All 4 jobs got intervals {said} of this machine."
    assert caveat in (tmp_path / "out" / "index.html").read_text()
    assert caveat in str(answers(of_records(records)))
    assert said not in str(answers(of_records(plain)))


def test_of_two_sweeps(tmp_path: Path) -> None:
    before, after = sweep(("mlx",), sweep_id="before"), sweep(("torch",), 1, sweep_id="after")
    a, b = written(tmp_path / "a", before), written(tmp_path / "b", after)
    shown = in_terminal([*before, *after])
    assert len(shown) == 2
    assert {verdict for _, verdict in shown} == {"descriptive"}
    assert in_compare(f"{a}:mlx", f"{b}:torch") == shown
    assert in_report([a, b], tmp_path / "out", "mlx", "torch") == shown


def test_of_two_machines(tmp_path: Path) -> None:
    here = sweep(("torch",), sweep_id="here")
    there = sweep(("torch",), 1, sweep_id="there", machine_id="other", machine=to_json({"chip": "AMD EPYC"}))
    a, b = written(tmp_path / "a", here), written(tmp_path / "b", there)
    shown = in_terminal([*here, *there])
    assert len(shown) == 2
    assert {verdict for _, verdict in shown} == {"descriptive"}
    assert in_compare(str(a), str(b)) == shown
    another = written(tmp_path / "c", sweep(("mlx",), sweep_id="here"))
    build([another, b], tmp_path / "out")  # a page has a panel for each machine, and sets none against another
    assert compared(tmp_path / "out") == []


def test_exchanging_the_two_changes_nothing_but_the_direction(tmp_path: Path) -> None:
    one, other = sweep(("mlx", "torch"))[:2]
    found, back = between(one, other), between(other, one)
    assert found is not None
    assert back is not None
    assert back.verdict == "slower"
    turned = found.swapped()
    assert ratio(turned.ratio, turned.low, turned.high) == ratio(back.ratio, back.low, back.high)
    assert turned.verdict == back.verdict
    assert turned.swapped().ratio == pytest.approx(found.ratio)


# contenders that are declared

DTYPES = ["framework", "dtype"]


def by_dtype(contenders: Sequence[str] = DTYPES, **values: Any) -> list[Record]:
    """Two libraries and two dtypes in one cell of each length, bfloat16 twice as fast as float32."""
    rng = random.Random(2)
    records = []
    for seq_len in (64, 128):
        for arm, center in (("mlx", 1e5), ("torch", 1.5e5)):
            for dtype, factor in (("float32", 1.0), ("bfloat16", 0.5)):
                one = plain_record(
                    arm, arm=f"{arm}-{dtype}", dtype=dtype, seq_len=seq_len, contenders=list(contenders), **values
                )
                latency = [[[int(rng.gauss(center * factor, 500))] * 3 for _ in range(8)] for _ in range(3)]
                records.append(with_samples(one, latency, [[calls[0] * 0.7 for calls in rounds] for rounds in latency]))
    return records


def test_of_two_dtypes_that_compete(tmp_path: Path) -> None:
    folder = written(tmp_path / "one", records := by_dtype())
    shown = in_terminal(records)  # three arms against mlx-float32, in each of two cells
    assert [verdict for _, verdict in shown] == ["faster", "slower", "faster"] * 2
    only = shown[::3]
    assert in_compare(f"{folder}:mlx-float32", f"{folder}:mlx-bfloat16") == only
    assert in_report([folder], tmp_path / "out", "mlx-float32", "mlx-bfloat16") == only
    assert in_report([folder], tmp_path / "out", "torch-float32", "mlx-bfloat16") == in_compare(
        f"{folder}:torch-float32", f"{folder}:mlx-bfloat16"
    )


def test_titles_leave_out_what_competes(tmp_path: Path) -> None:
    folder = written(tmp_path / "one", records := by_dtype())
    console = Console(file=io.StringIO(), width=200)
    console.print(table.results(records, 200))
    assert isinstance(console.file, io.StringIO)
    titles = [line.strip() for line in console.file.getvalue().splitlines() if line.startswith("softmax")]
    assert titles == ["softmax batch 1 seq 64", "softmax batch 1 seq 128"]
    found = json.loads(formats.as_json(comparison.compare(f"{folder}:mlx-float32", f"{folder}:mlx-bfloat16")))
    assert [(row["dtype"], row["params"], row["seq_len"]) for row in found["rows"]] == [
        (None, {"embed_dim": 768}, 64), (None, {"embed_dim": 768}, 128),
    ]  # fmt: skip


def test_the_roofline_is_that_of_each_dtype(tmp_path: Path) -> None:
    read = tables.load([written(tmp_path / "one", by_dtype())])
    found = {ground.heading: set(ground.points["label"]) for ground in roofline.grounds(read.charted)}
    assert found == {
        "cpu, float32": {"mlx-float32", "torch-float32"},
        "cpu, bfloat16": {"mlx-bfloat16", "torch-bfloat16"},
    }


def test_parameters_and_operators_compete_as_well(tmp_path: Path) -> None:
    axes = ["framework", "operator", "operator.params.bits"]
    of = {"contenders": axes, "sweep_id": "bits"}
    rng, records = random.Random(3), []
    for operator, params in (
        ("linear", {"embed_dim": 64}),
        ("quantized_linear", {"embed_dim": 64, "bits": 4}),
        ("quantized_linear", {"embed_dim": 64, "bits": 8}),
    ):
        bits = params.get("bits")
        arm = f"torch-{operator}" + (f"-bits{bits}" if bits else "")
        one = plain_record("torch", operator=operator, params=to_json(params), arm=arm, **of)
        latency = [[[int(rng.gauss(1e4 * (bits or 16), 100))] * 3 for _ in range(8)] for _ in range(3)]
        records.append(with_samples(one, latency, []))
    folder = written(tmp_path / "one", records)
    shown = in_terminal(records)
    assert [verdict for _, verdict in shown] == ["faster", "faster"]
    assert in_compare(f"{folder}:torch-linear", f"{folder}:torch-quantized_linear-bits8") == shown[1:]
    build([folder], tmp_path / "out")
    page = (tmp_path / "out" / "linear_quantized_linear.html").read_text()
    assert "<option selected>torch-" in page
    for label in ("torch-linear", "torch-quantized_linear-bits4", "torch-quantized_linear-bits8"):
        assert label in page
    assert "embed_dim&nbsp;<b>64</b>" in page


def test_what_does_not_compete_is_held_equal(tmp_path: Path) -> None:
    """Without `device` among the contenders, each device has cells of its own."""
    records = [
        measured(
            "torch",
            random.Random(4),
            device=device,
            contenders=DTYPES,
            cell_id=device,
            arm=f"torch-{dtype}",
            dtype=dtype,
        )
        for device in ("cpu", "gpu")
        for dtype in ("float32", "bfloat16")
    ]
    console = Console(file=io.StringIO(), width=200)
    console.print(table.results(records, 200))
    assert isinstance(console.file, io.StringIO)
    titles = [line.strip() for line in console.file.getvalue().splitlines() if line.startswith("softmax")]
    assert titles == ["softmax batch 1 seq 64 device=cpu", "softmax batch 1 seq 64 device=gpu"]
    build([written(tmp_path / "in", records)], tmp_path / "out")
    page = (tmp_path / "out" / "softmax.html").read_text()
    assert "<h2>device cpu</h2>" in page
    assert "<h2>device gpu</h2>" in page


def test_a_sweep_that_declares_nothing_is_as_before(tmp_path: Path) -> None:
    records = write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch", "mlx"), batch_sizes=(1,)))
    console = Console(file=io.StringIO(), width=200)
    console.print(table.results(records, 200))
    assert isinstance(console.file, io.StringIO)
    titles = {line.strip() for line in console.file.getvalue().splitlines() if line.startswith("softmax")}
    assert {"softmax float32 batch 1 seq 64", "softmax bfloat16 batch 1 seq 64"} <= titles


def test_what_is_inconclusive_says_everywhere_whether_rounds_are_too_few_or_it_could_be_either(tmp_path: Path) -> None:
    wild = [[1e5 * ns] * 8 for ns in (0.7, 2.4, 1.4, 0.8, 1.9)]
    records = [
        with_blocks(plain_record(arm, seq_len=seq_len), blocks)
        for seq_len, ours, theirs in ((64, [[1e5] * 8] * 5, wild), (128, [[1e5] * 2], [[1.2e5] * 2]))
        for arm, blocks in (("torch", ours), ("mlx", theirs))
    ]
    folder = written(tmp_path / "in", records)
    found = comparison.compare(f"{folder}:torch", f"{folder}:mlx")
    terminal, beside = (Console(file=io.StringIO(), width=400) for _ in range(2))
    terminal.print(table.results(records, 400))
    formats.show(found, beside)
    build([folder], tmp_path / "out")
    shown = {
        "terminal": terminal.file.getvalue(),  # type: ignore[attr-defined]
        "compare": beside.file.getvalue(),  # type: ignore[attr-defined]
        "compare, Markdown": formats.markdown(found),
        "compare, JSON": formats.as_json(found),
        "Markdown": as_markdown(records),
        "CSV": as_csv(records),
        "GitHub": github_action_benchmark.export(records),
        "page": re.sub("<script.*?</script>", "", (tmp_path / "out" / "softmax.html").read_text(), flags=re.DOTALL),
        "chart": json.dumps([cell["evidence"] for cell in compared(tmp_path / "out")]),
    }
    for where, text in shown.items():
        for why in ("could be either", "only 2 rounds"):
            assert why in text, (where, why)
