"""Exported files: accepted by their readers, and with the numbers and verdicts that our own displays have."""

import csv
import io
import json
from pathlib import Path
from statistics import median

import jsonschema
import pytest
import schemas
from published_files import LLAMA_ROWS

from mtbench.exchange.exports import FORMATS, export
from mtbench.exchange.imports import import_files
from mtbench.launch import commands
from mtbench.results import cells, record
from mtbench.results.baseline import against_baseline
from mtbench.results.record import Record, write
from record_builder import Grid, write_grid
from record_builder import record as job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep, a job without a speed, and published figures."""
    found = tmp_path_factory.mktemp("multirun")
    write_grid(found / "ours", Grid(seq_lens=(64, 128), dtypes=("float32",)))
    write(job("numpy", dtype="bfloat16", status="unsupported", reason="NumPy has no\nbfloat16 | none"), found / "none")
    (found / "llama.json").write_text(json.dumps(LLAMA_ROWS))
    import_files([found / "llama.json"], found / "imported")
    return found


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, Record]:
    return {one.job_id: one for one in record.of_rows(record.read(record.find([folder]))[0])}


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("bmf", schemas.BMF),
        ("github-action-benchmark", schemas.GITHUB_ACTION_BENCHMARK),
        ("pytorch", schemas.PYTORCH),
    ],
)
def test_an_export_is_valid_by_its_published_schema(folder: Path, name: str, schema: dict[str, object]) -> None:
    text, problems = export([folder], name)
    assert problems == []
    jsonschema.validate(json.loads(text), schema)


def test_bencher_gets_each_time_with_its_bounds(folder: Path, records: dict[str, Record]) -> None:
    found = json.loads(export([folder], "bmf")[0])
    timed = [one for one in records.values() if one.latency_ns is not None]
    assert len(found) == len(timed) == 2 * 2 * 2 * 5 + 2
    assert max(map(len, found)) < 1024
    mine = found["mha float32 batch 8 seq 128, torch_compiled"]
    (one,) = [
        one
        for one in timed
        if (one.operator, one.batch_size, one.seq_len, one.arm) == ("mha", 8, 128, "torch_compiled")
    ]
    assert mine["latency"] == {
        "value": one.latency_ns,
        "lower_value": one.latency_low_ns,
        "upper_value": one.latency_high_ns,
    }
    assert one.throughput_ns is not None
    assert mine["throughput"]["value"] == pytest.approx(1e9 / one.throughput_ns)
    assert mine["throughput"]["lower_value"] < mine["throughput"]["value"] < mine["throughput"]["upper_value"]
    published = [name for name in found if "published by llama-bench" in name]
    assert len(published) == 2


def test_pyperf_reads_the_export_and_finds_our_blocks(folder: Path, records: dict[str, Record], tmp_path: Path) -> None:
    pyperf = pytest.importorskip("pyperf")
    file = tmp_path / "all.json"
    file.write_text(export([folder], "pyperf")[0])
    suite = pyperf.BenchmarkSuite.load(str(file))
    by_name = {benchmark.get_name(): benchmark for benchmark in suite}
    benchmark = by_name["softmax float32 batch 1 seq 64, mlx"]
    (one,) = [
        one
        for one in records.values()
        if (one.operator, one.arm, one.batch_size, one.seq_len) == ("softmax", "mlx", 1, 64)
    ]
    blocks = [median(calls) for rounds in one.latency_samples_ns for calls in rounds]
    assert benchmark.get_values() == tuple(pytest.approx(ns / 1e9) for ns in blocks)
    assert benchmark.get_nrun() == one.restarts
    assert benchmark.format_value(benchmark.median())
    assert benchmark.get_metadata()["mtbench_arm"] == "mlx"


def test_what_pyperf_got_comes_back_as_published_figures(
    folder: Path, records: dict[str, Record], tmp_path: Path
) -> None:
    (tmp_path / "all.json").write_text(export([folder / "ours"], "pyperf")[0])
    import_files([tmp_path / "all.json"], tmp_path / "again")
    again = record.of_rows(record.read(record.find([tmp_path / "again"]))[0])
    key = ("operator", "params", "arm", "dtype", "batch_size", "seq_len")
    times = {tuple(getattr(one, name) for name in key): one.latency_ns for one in records.values()}
    assert len(again) == 40
    for one in again:
        assert one.status == "unverified"
        assert one.latency_ns == pytest.approx(times[tuple(getattr(one, name) for name in key)], rel=1e-6)


def test_csv_and_markdown_have_the_verdicts_of_the_table_of_a_sweep(folder: Path, records: dict[str, Record]) -> None:
    expected = against_baseline(cells.by_cell(records.values()))
    rows = list(csv.DictReader(io.StringIO(export([folder], "csv")[0])))
    assert len(rows) == len(records)
    told = {(row["operator"], row["arm"], row["batch_size"], row["seq_len"]): row for row in rows}
    lines = export([folder], "markdown")[0].splitlines()
    assert len(lines) == 2 + len(records)
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}
    for (_, job_id), found in expected.items():
        one = records[job_id]
        row = told[one.operator, one.arm, str(one.batch_size), str(one.seq_len)]
        assert (row["verdict"], float(row["ratio"])) == (found.verdict, found.ratio)
    assert sum(f"| {verdict} |" in line for line in lines for verdict in ("faster", "slower")) == sum(
        one.verdict in ("faster", "slower") for one in expected.values()
    )
    assert any("unsupported" in line and "NumPy has no" in line for line in lines)
    assert sum(line.endswith("| unverified |") for line in lines) == 2


def test_a_name_tells_machines_and_versions_apart(tmp_path: Path) -> None:
    for number, (machine, version) in enumerate([("5f0c1d2e3a", "0.31.2"), ("5f0c1d2e3a", "0.32.0"), ("a0", "0.32.0")]):
        write_grid(
            tmp_path / str(number),
            Grid(("softmax",), ("mlx",), ("float32",), (1,), (64,)),
            machine_id=machine,
            library_version=version,
            sweep_id=str(number),
        )
    assert list(json.loads(export([tmp_path], "bmf")[0])) == [
        "softmax float32 batch 1 seq 64, mlx 0.31.2 machine 5f0c1d2e3a",
        "softmax float32 batch 1 seq 64, mlx 0.32.0 machine 5f0c1d2e3a",
        "softmax float32 batch 1 seq 64, mlx 0.32.0 machine a0",
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_writes_what_it_would_print(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.app(["export", str(folder), "--format", name], standalone_mode=False)
    printed = capsys.readouterr().out
    commands.app(["export", str(folder), "--format", name, "--out", str(tmp_path / "o" / "x")], standalone_mode=False)
    assert (tmp_path / "o" / "x").read_text() == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["here", "--format", "jsonl"], "No format 'jsonl'"),
        (["nowhere", "--format", "csv"], "There is no folder nowhere"),
        (["empty", "--format", "csv"], "No records under empty"),
        (["untimed", "--format", "bmf"], "No record under untimed has a time"),
        (["here", "--format", "csv", "--out", "here"], "cannot be written"),
    ],
)
def test_a_wrong_request_gets_one_line(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_grid(tmp_path / "here", Grid(("softmax",), ("mlx",), ("float32",), (1,), (64,)))
    write(job(status="oom", reason="no memory"), tmp_path / "untimed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        commands.app(["export", *arguments], standalone_mode=False)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_schema_refuses_what_a_reader_would(folder: Path) -> None:
    found = json.loads(export([folder], "pytorch")[0])
    found[0]["metric"]["extra_info"]["confidence"] = 0.95
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schemas.PYTORCH)
