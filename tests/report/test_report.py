"""What a report says, read from its files: the numbers of the records, and nothing that was not measured."""

import json
import logging
import random
import re
from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from report_site import Report

from mtbench.errors import ConfigError
from mtbench.plain import to_json
from mtbench.report import build, jobs, tables
from mtbench.report.arms import styles
from mtbench.report.packed import unpacked_column
from mtbench.report.pages import page_names
from mtbench.report.publish import published
from mtbench.report.ratios import ratios
from mtbench.results import columns, format, samples
from mtbench.results import record as records
from mtbench.results.record import write
from record_builder import START, Grid, measured, record, with_samples, write_grid
from written_report import charts as specs
from written_report import rows


def test_every_chart_is_valid_vega_lite(report: Report) -> None:
    """Altair knows the language's schema; the report itself does not check, which would take most of its time."""
    pages = {page.name: specs(page) for page in sorted(report.folder.glob("*.html"))}
    kinds = {name.rpartition("-")[2] for charts in pages.values() for name in charts}
    assert {"time", "ratio", "distance", "samples", "machine"} <= kinds
    for page, charts in pages.items():
        for name, spec in charts.items():
            assert alt.Chart.from_dict(spec, validate=True), (page, name)


def texts_of(column: Any, rows: int) -> list[str]:
    """A column of a script of jobs, as the page reads it."""
    if isinstance(column, str):
        return [column] * rows
    return unpacked_column(column)


def test_every_column_of_every_record_is_reachable_from_its_row(report: Report) -> None:
    page = unescape((report.folder / "job.html").read_text())
    told = list(columns.columns(records.Record))
    assert re.findall(r'data-column="(\d+)"', page) == [str(number) for number in range(len(told))]
    for column in told:
        assert f"<td>{column.title}</td>" in page
        assert column.meaning in page
    shown, drawn = [], []
    for path in (report.folder / "assets").glob("jobs-*.js"):
        found = json.loads(path.read_text().removeprefix("mtbenchJobs = ").removesuffix(";\n"))
        shown += zip(*(texts_of(column, found["rows"]) for column in found["columns"]), strict=True)
        drawn += found["samples"]
    assert len(shown) == len(drawn) == len(report.records)
    by_job = {(row[2 + JOB_ID], row[2 + SWEEP_ID]): (row, own) for row, own in zip(shown, drawn, strict=True)}
    for one in report.records:
        row, own = by_job[one.job_id, one.sweep_id]
        for column, text in zip(told, row[2:], strict=True):
            if not column.name.endswith("_samples_ns"):
                assert text == column.shown(getattr(one, column.name)), column.name
        for metric, column in samples.COLUMNS.items():  # the page makes the words of these
            assert list(map(len, own.get(metric, []))) == list(map(len, getattr(one, column)))
            assert f'data-samples="{metric}"' in page
    leading = [
        re.findall(r'class="arm".*?href="job.html#(\d+)"', row)
        for page in OPERATORS
        for row in rows(report.folder / page)
    ]
    assert sorted(int(number) for (number,) in leading) == list(range(len(report.records)))


def test_a_restart_without_a_block_keeps_its_number() -> None:
    blocks = {"row": [0, 0, 1], "restart": [0, 2, 0], "round": [0, 0, 0], "ns": [123_456.7, 2.0, 3.0]}
    assert jobs.blocks_of(pl.DataFrame(blocks)) == {0: [[123_460.0], [], [2.0]], 1: [[3.0]]}


OPERATORS = ("linear.html", "mha.html", "sdpa.html", "softmax.html")

SWEEP_ID, JOB_ID = (
    [one.name for one in columns.columns(records.Record)].index(name) for name in ("sweep_id", "job_id")
)


def one_ratio(folder: Path, **chosen: Any) -> dict[str, Any]:
    read = tables.load([folder])
    found = ratios(read, tables.LATENCY, list(styles(read.charted)))
    return found.filter(**chosen).row(0, named=True)


def test_results_hold_every_record_with_its_numbers_and_nothing_nested(report: Report) -> None:
    flat = pl.read_parquet(report.folder / "results.parquet")
    assert len(flat) == len(report.records)
    assert not any(dtype.is_nested() for dtype in flat.dtypes)
    key = ("sweep_id", "job_id")
    rows = {tuple(row[name] for name in key): row for row in flat.iter_rows(named=True)}
    for one in report.records:
        row = rows[one.sweep_id, one.job_id]
        expected = asdict(one)
        for name in ("latency_samples_ns", "throughput_samples_ns", "token_samples_ns", "warnings", "contenders"):
            del expected[name]
        assert {name: row[name] for name in expected} == expected
        assert (report.source.parent / row["path"]).exists()


def test_the_csv_is_a_plain_table_with_the_same_numbers(report: Report) -> None:
    plain = pl.read_csv(report.folder / "results.csv", infer_schema_length=None)
    flat = pl.read_parquet(report.folder / "results.parquet")
    assert plain.columns == flat.columns
    for name in ("status", "arm", "latency_ns", "throughput_high_ns", "verify_error", "seq_len", "reason"):
        assert plain[name].to_list() == flat[name].to_list()


def test_charts_show_exactly_the_ok_records_each_with_its_own_parameters(report: Report) -> None:
    charts = specs(report.folder / "mha.html")
    shown = [
        (causal, p["dtype"], p["batch_size"], p["seq_len"], p["ns"], p["low_ns"], p["high_ns"])
        for causal, number in ((False, 1), (True, 2))
        for p in charts[f"mha-{number}-latency-time"]["datasets"]["points"]
    ]
    expected = [
        (
            json.loads(r.params)["causal"],
            r.dtype,
            r.batch_size,
            r.seq_len,
            r.latency_ns,
            r.latency_low_ns,
            r.latency_high_ns,
        )
        for r in report.records
        if r.operator == "mha" and r.status == "ok"
    ]
    assert sorted(shown) == sorted(expected)
    page = (report.folder / "mha.html").read_text()
    assert "<h2>causal false</h2>" in page
    assert "<h2>causal true</h2>" in page


def test_a_mismatch_is_nowhere_a_speed(tmp_path: Path) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch",), seq_lens=(64,), batch_sizes=(1,)))
    wrong = record("mlx", status="mismatch", reason="wrong")
    wrong.throughput_ns, wrong.throughput_low_ns, wrong.throughput_high_ns = 777.0, 776.0, 778.0
    wrong.throughput_samples_ns = [[777.0] * 10]
    write(wrong, tmp_path / "in" / "wrong")
    build([tmp_path / "in"], tmp_path / "out")
    row = pl.read_csv(tmp_path / "out" / "results.csv").filter(status="mismatch")
    assert [row[name][0] for name in tables.SPEEDS] == [None] * 6
    for page in ("index.html", "softmax.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "777 ns" not in text
        assert ":777.0" not in text
        assert "mismatch" in text
        assert all("mlx" not in json.dumps(spec) for spec in specs(tmp_path / "out" / page).values())


def test_the_ratio_of_two_arms_is_that_of_their_paired_blocks(tmp_path: Path) -> None:
    """Medians of the blocks of A: 100, 200, 400, 80; of B: 50, 100, 200, 40, each half of A's, in rounds that A shares."""
    a = [[[100, 90, 900]], [[200, 210, 190], [400, 1, 401]], [[80, 80, 80]]]
    b = [[[50, 49, 51]], [[100, 100, 100], [200, 200, 999]], [[40, 40, 40]]]
    write(with_samples(record("torch"), a, []), tmp_path / "a")
    write(with_samples(record("mlx"), b, []), tmp_path / "b")
    found = one_ratio(tmp_path, a="torch", b="mlx")
    assert (found["ratio"], found["low"], found["high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert found["pairs"] == 4
    other = one_ratio(tmp_path, a="mlx", b="torch")
    assert other["ratio"] == pytest.approx(2)


def test_blocks_are_paired_by_restart_and_round_and_those_without_a_partner_are_left_out(tmp_path: Path) -> None:
    a = [[[100]] * 4, [[200]] * 4]
    b = [[[50]] * 2, [[100]] * 4]  # the first restart was cut short
    write(with_samples(record("torch"), a, []), tmp_path / "a")
    write(with_samples(record("mlx"), b, []), tmp_path / "b")
    found = one_ratio(tmp_path, a="torch", b="mlx")
    assert found["pairs"] == 6
    assert found["ratio"] == pytest.approx(0.5)
    assert found["verdict"] == "faster"


def test_arms_of_two_sweeps_are_set_side_by_side_and_not_judged(tmp_path: Path) -> None:
    write(with_samples(record("torch", sweep_id="one"), [[[100]] * 10], []), tmp_path / "a")
    write(with_samples(record("mlx", sweep_id="two"), [[[40]] * 5 + [[60]] * 6], []), tmp_path / "b")
    found = one_ratio(tmp_path, a="torch", b="mlx")
    assert found["verdict"] == "descriptive"
    assert (found["ratio"], found["low"], found["high"]) == pytest.approx((0.6, 0.4 / 1.12**2, 0.6 * 1.12**2))
    assert (found["interleaved"], found["reason"]) == (False, "in two sweeps")


def test_a_difference_that_does_not_survive_the_number_of_cells_is_inconclusive(tmp_path: Path) -> None:
    """Three restarts whose ratio is 1.1 with a deviation of 4 %: p = 4.5 %, enough for one cell and not for two."""
    for cells, verdict in ((1, "slower"), (2, "inconclusive")):
        folder = tmp_path / str(cells)
        for seq_len in (64, 128)[:cells]:
            for arm, restarts in (("torch", (1000, 1000, 1000)), ("mlx", (1060, 1100, 1140))):
                samples = [[[ns]] * 2 for ns in restarts]
                write(with_samples(record(arm, seq_len=seq_len), samples, []), folder / f"{arm}{seq_len}")
        assert one_ratio(folder, a="torch", b="mlx")["verdict"] == verdict


def test_of_one_contender_measured_twice_the_newest_checked_answer_counts(tmp_path: Path) -> None:
    first = measured("torch", random.Random(1), sweep_id="one", finished_at=START)
    second = measured("torch", random.Random(2), sweep_id="two", finished_at=START.replace(hour=13))
    crashed = record("torch", sweep_id="three", status="crashed", finished_at=START.replace(hour=14))
    for one in (first, second, crashed):
        write(one, tmp_path / one.sweep_id)
    read = tables.load([tmp_path])
    assert read.charted["sweep_id"].to_list() == ["two"]
    assert read.records.filter("repeated")["sweep_id"].to_list() == ["one"]
    write(record("torch", sweep_id="four", status="mismatch", finished_at=START.replace(hour=15)), tmp_path / "four")
    assert tables.load([tmp_path]).charted.is_empty()


def test_records_of_an_older_schema_and_with_unknown_columns_are_merged(tmp_path: Path) -> None:
    write_grid(tmp_path / "now", Grid(operators=("softmax",), arms=("torch", "mlx"), seq_lens=(64,), batch_sizes=(1,)))
    for version, change in ((0, lambda f: f.drop(OLD)), (2, lambda f: f.with_columns(new_column=pl.lit("unheard of")))):
        for path in records.find([tmp_path / "now"]):
            folder = tmp_path / f"v{version}" / path.parent.name
            folder.mkdir(parents=True)
            frame = pl.read_parquet(path).with_columns(
                schema_version=pl.lit(version),
                sweep_id=pl.lit(f"v{version}"),
                seq_len=pl.lit(128 if version == 0 else 256),
            )
            change(frame).write_parquet(folder / "record.parquet")
    build([tmp_path], tmp_path / "out")
    assert sorted(pl.read_parquet(tmp_path / "out" / "results.parquet")["schema_version"].unique()) == [0, 2]
    points = specs(tmp_path / "out" / "softmax.html")["softmax-1-latency-time"]["datasets"]["points"]
    assert {point["seq_len"] for point in points} == {64, 128, 256}


OLD = [
    "throughput_ns",
    "throughput_samples_ns",
    "warnings",
    "confidence",
    "kv_len",
    "library_details",
    "machine",
    "converged",
]


def test_labels_name_what_differs_and_no_more(tmp_path: Path) -> None:
    def labels(*made: records.Record) -> set[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for number, one in enumerate(made):
            write(with_samples(one, [[[100]] * 6], []), folder / str(number))
        return set(tables.load([folder]).charted["label"])

    assert labels(record("torch"), record("mlx_compiled"), record("numpy")) == {"torch", "mlx_compiled", "numpy"}
    assert labels(record("torch"), record("torch", library_version="2.14.0", arm="new"), record("mlx")) == {
        "torch (2.13.0)",
        "new (2.14.0)",
        "mlx",
    }
    assert labels(record("torch"), record("torch", device="gpu", matmul_precision="tf32")) == {
        "torch (cpu, highest)",
        "torch (gpu, tf32)",
    }
    assert labels(record("torch"), record("torch", variant="stock", arm="torch-stock"), record("numpy")) == {
        "torch",
        "torch-stock",
        "numpy",
    }
    other = to_json({"chip": "AMD EPYC"})
    assert labels(record("torch"), record("torch", machine_id="other", machine=other)) == {
        "torch"
    }  # in panels of their own
    assert labels(record("torch"), record("torch", arm="torch-cpu")) == {"torch", "torch-cpu"}


def test_a_page_first_compares_two_arms_that_it_has(tmp_path: Path) -> None:
    write_grid(tmp_path / "runs" / "a", Grid(operators=("softmax", "linear"), arms=("numpy", "torch")), sweep_id="a")
    write_grid(tmp_path / "runs" / "b", Grid(operators=("sdpa",), arms=("torch", "mlx")), sweep_id="b")
    build([tmp_path / "runs"], tmp_path / "out")
    chosen = {
        operator: re.findall(r"<option selected>(.*?)</option>", (tmp_path / "out" / f"{operator}.html").read_text())
        for operator in ("softmax", "sdpa")
    }
    assert {operator: sorted(arms) for operator, arms in chosen.items()} == {
        "softmax": ["numpy", "torch"],
        "sdpa": ["mlx", "torch"],
    }


def test_an_arm_has_one_colour_on_every_page(report: Report) -> None:
    seen: dict[str, set[str]] = {}
    for page in report.folder.glob("*.html"):
        for spec in specs(page).values():
            if "points" in spec["datasets"]:
                scale = spec.get("spec", spec)["layer"][0]["encoding"]["color"]["scale"]
                for label, colour in zip(scale["domain"], scale["range"], strict=True):
                    seen.setdefault(label, set()).add(colour)
    assert len(seen) == 5
    assert all(len(colours) == 1 for colours in seen.values())
    assert len(set.union(*seen.values())) == 5


def test_the_index_lists_every_job_status_machine_version_and_the_file_that_was_left_out(report: Report) -> None:
    page = (report.folder / "index.html").read_text()
    table = page[page.index('class="jobs sortable') :]
    assert table.count("<tr>") == len(report.records) + 1
    for words in (
        "<b>1</b> mismatch",
        "<b>2</b> failed",
        "Apple M3 Pro",
        "36.0 GiB",
        "2.13.0",
        "Accelerate",
        "NumPy has no bfloat16 &lt;here&gt;",
        "the worker died of signal 9",
        "first/cut/record.parquet: left out",
    ):
        assert words in page, words


def test_pages_name_nothing_outside_the_given_folder_and_link_only_to_the_report(report: Report) -> None:
    for page in report.folder.glob("*.html"):
        text = page.read_text()
        assert str(report.source.parent) not in text
        links = re.findall(r'(?:href|src)="([^"]*)"', text)
        files = {link.split("#")[0] for link in links if not link.startswith("data:")} - {""}
        assert all((report.folder / file).exists() for file in files), files
    assert str(report.source.parent) not in (report.folder / "results.csv").read_text()


def test_an_unreadable_file_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch",), seq_lens=(64,), batch_sizes=(1,)))
    (tmp_path / "in" / "cut").mkdir()
    (tmp_path / "in" / "cut" / "record.parquet").write_bytes(b"PAR1")
    with caplog.at_level(logging.WARNING):
        build([tmp_path / "in"], tmp_path / "out")
    assert "cut/record.parquet: left out" in caplog.text


@pytest.mark.parametrize("chart_format", ["svg", "png"])
def test_charts_are_also_written_as_files(tmp_path: Path, chart_format: str) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch", "mlx"), seq_lens=(64,), batch_sizes=(1,)))
    build([tmp_path / "in"], tmp_path / "out", chart_format)
    charts = {path.stem: path.read_bytes() for path in (tmp_path / "out" / "charts").glob(f"*.{chart_format}")}
    pages = ("softmax.html", "index.html", "roofline.html")
    assert set(charts) == {name for page in pages for name in specs(tmp_path / "out" / page)}
    head = {"svg": b"<svg", "png": b"\x89PNG"}[chart_format]
    assert all(content.startswith(head) and len(content) > 2000 for content in charts.values())


def test_a_second_report_replaces_the_first_and_leaves_the_users_files_alone(tmp_path: Path) -> None:
    small = {"arms": ("torch", "mlx"), "seq_lens": (64,), "batch_sizes": (1,), "dtypes": ("float32",)}
    write_grid(tmp_path / "one", Grid(operators=("softmax", "mha"), **small))
    write_grid(tmp_path / "two", Grid(operators=("softmax",), **small))
    out = tmp_path / "reports"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / ".gitkeep").touch()
    build([tmp_path / "one"], out, "svg")
    assert (out / "mha.html").exists()
    assert build([tmp_path / "two"], out) == out / "index.html"
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "assets",
        "index.html",
        "job.html",
        "notes.txt",
        "results.csv",
        "results.parquet",
        "roofline.html",
        "softmax.html",
        "support.html",
    }
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_no_report_wrote_is_not_overwritten(tmp_path: Path) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch",), seq_lens=(64,), batch_sizes=(1,)))
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("my home page")
    with pytest.raises(ConfigError, match=r"index\.html was not written by mtbench"):
        build([tmp_path / "in"], out)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"index.html": "my home page"}


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with (
        pytest.raises(ConfigError, match=r"/dev/null/x/y cannot be made \(Not a directory\)"),
        published(Path("/dev/null/x/y")),
    ):
        pass


def test_mistakes_get_one_clear_line_and_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(record(), tmp_path / "in")
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (([tmp_path / "nowhere"], tmp_path / "out"), "There is no folder .*nowhere"),
        (([tmp_path / "empty"], tmp_path / "out"), "No records under .*empty.*python -m mtbench"),
        (([tmp_path / "in"], tmp_path / "file"), "file is a file"),
        (([tmp_path / "in"], tmp_path / "out", "pgn"), "Did you mean 'png'"),
    ):
        with pytest.raises(ConfigError, match=words) as raised:
            build(*arguments)
        assert "\n" not in str(raised.value)
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "in", "file"}


def test_a_build_that_fails_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path / "in", Grid(operators=("softmax",), arms=("torch",), seq_lens=(64,), batch_sizes=(1,)))
    build([tmp_path / "in"], tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("mtbench.report._write_results", full)
    with pytest.raises(OSError, match="no space"):
        build([tmp_path / "in"], tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_operators_get_pages_of_their_own_whatever_they_are_called() -> None:
    names = page_names(["index", "a/b", "a_b", "Softmax", "softmax", "../up", "naïve"])
    assert len({name.lower() for name in names.values()} | {"index.html"}) == 8
    assert all(re.fullmatch(r"[\w.-]+\.html", name, re.ASCII) and "/" not in name for name in names.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format.duration(0.5), "0.500 ns"),
        (format.duration(41_230), "41.2 µs"),
        (format.duration(999_600), "1.00 ms"),
        (format.duration(123_456_789_000), "123 s"),
        (format.duration(None), "–"),
        (format.durations([41_230, 41_900, 1_000_500]), "41.2, 41.9, 1000.5 µs"),
        (format.interval(1_000_000, 990_000, 1_010_000), "1.00 ms [0.99, 1.01]"),
        (format.size(38654705664), "36.0 GiB"),
        (format.rate(1.234e12, "FLOP/s"), "1.23 TFLOP/s"),
        (format.percent(0.0123), "1.2 %"),
        (format.percent(0.95), "95 %"),
    ],
)
def test_numbers_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected


def test_bounds_that_bound_nothing_are_not_drawn_and_weak_ones_say_so(tmp_path: Path) -> None:
    lone = with_samples(record("torch"), [[[100]]], [])
    weak = with_samples(record("torch", seq_len=128), [[[100], [102], [104]]], [])
    write(lone, tmp_path / "in" / "lone")
    write(weak, tmp_path / "in" / "weak")
    build([tmp_path / "in"], tmp_path / "out")
    points = specs(tmp_path / "out" / "softmax.html")["softmax-1-latency-time"]["datasets"]["points"]
    assert [(p["ns"], p["low_ns"], p["high_ns"]) for p in points] == [(100, None, None), (102, 100, 104)]
    assert [p["latency"] for p in points] == ["100 ns", "102 ns [100, 104] at 75 %"]
    assert pl.read_csv(tmp_path / "out" / "results.csv")["latency_low_ns"].to_list() == [100, 100]  # as recorded
