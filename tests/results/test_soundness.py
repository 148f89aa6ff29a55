"""A record that cannot be is named and left out, wherever records are read, and never costs a good one."""

import json
import os
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mtbench.compare import compare
from mtbench.errors import ConfigError
from mtbench.launch import commands
from mtbench.report import build
from mtbench.results import record as records
from mtbench.results import soundness
from mtbench.results.merging import merge
from mtbench.results.record import find, read, write
from record_builder import measured

DEEP = "[" * 3000 + "]" * 3000

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    **{f"null {name}": ({name: None}, f"it has no {name}") for name in soundness.NEEDED},
    "empty operator": ({"operator": ""}, "its operator is empty"),
    "later schema": ({"schema_version": 99}, "a later version of mtbench wrote it"),
    "later status": ({"status": "weird"}, "its status is none of ok, "),
    "fast and wrong": ({"status": "mismatch"}, "a mismatch has no speed"),
    "list of parameters": ({"params": "[]"}, "its params is no JSON"),
    "no JSON": ({"params": "{"}, "its params is no JSON"),
    "deep machine": ({"machine": '{"chip": ' + DEEP + "}"}, "its machine is no JSON"),
    "NaN in JSON": ({"protocol": '{"target": NaN}'}, "its protocol is no JSON"),
    "conditions of numbers": ({"conditions": "[1]"}, "its conditions is no JSON"),
    "zero time": ({"latency_ns": 0.0}, "its latency is no time"),
    "tiny time": ({"throughput_ns": 5e-324}, "its throughput is no time"),
    "NaN bound": ({"latency_low_ns": float("nan")}, "its latency_low_ns is no finite number"),
    "endless rate": ({"flops_per_s": float("inf")}, "its flops_per_s is no finite number"),
    "huge peak": ({"peak_bytes_per_s": 1e300}, "its peak_bytes_per_s is no finite number"),
    "negative work": ({"flops": -1.0}, "its flops is negative"),
    "interval beside": (
        {"latency_low_ns": 1e9, "latency_high_ns": 2e9},
        "the interval of its latency does not hold it",
    ),
    "certain": ({"confidence": 1.5}, "its confidence is not between 0 and 1"),
    "no batch": ({"batch_size": 0}, "its batch_size is out of range"),
    "samples of zero": ({"latency_samples_ns": [[[0, 0, 0]]]}, "its samples are no times"),
    "negative samples": ({"throughput_samples_ns": [[-1.0]]}, "its samples are no times"),
    "a megabyte of operator": ({"operator": "x" * 1_000_000}, "its operator is longer than 1000 characters"),
}


def changed(path: Path, **values: Any) -> Path:
    """The file of a good record in which some columns are others."""
    schema = records.schema()
    write(measured("torch", random.Random(1)), path)
    frame = pl.read_parquet(path / records.FILE_NAME, glob=False)  # some folders here are patterns
    series = [pl.Series(name, [value], dtype=schema[name]) for name, value in values.items()]
    frame.with_columns(series).write_parquet(path / records.FILE_NAME)
    return path / records.FILE_NAME


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_be_is_named_and_left_out(tmp_path: Path, name: str) -> None:
    values, why = CHANGES[name]
    bad, good = changed(tmp_path / "bad", **values), write(measured("mlx", random.Random(0)), tmp_path / "good")
    frame, problems = read([bad, good])
    assert frame["path"].to_list() == [str(good)]
    (problem,) = problems
    assert problem.startswith(f"{bad}: left out, not a record ({why}")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good records behind a link and in a folder whose name is a pattern, and beside them whatever else may lie there."""
    folder = tmp_path_factory.mktemp("mixed") / "run[1]*"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(measured("torch", random.Random(0)), folder / "good")
    write(measured("mlx", random.Random(1)), elsewhere / "good")
    (folder / "link").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder)
    for number, (values, _) in enumerate(CHANGES.values()):
        changed(folder / f"bad-{number}", **values)
    long = {"reason": "r" * 1_000_000, "warnings": ["w" * 1_000_000] * 200}
    changed(folder / "long", **long, job_id="long", arm="long", framework="other")
    for name in ("pipe", "folder", "dangling", "alien", "flipped", "empty"):
        (folder / name).mkdir()
    os.mkfifo(folder / "pipe" / records.FILE_NAME)
    (folder / "folder" / records.FILE_NAME).mkdir()
    (folder / "dangling" / records.FILE_NAME).symlink_to(folder / "nowhere")
    (folder / "empty" / records.FILE_NAME).touch()
    pl.DataFrame({"a": [1]}).write_parquet(folder / "alien" / records.FILE_NAME)
    content = bytearray((folder / "good" / records.FILE_NAME).read_bytes())
    content[len(content) // 3] ^= 0xFF
    (folder / "flipped" / records.FILE_NAME).write_bytes(content)
    (folder / "selftest.json").write_text(json.dumps({"schema_version": 1, "rows": 5}))
    return folder


LEFT_OUT = len(CHANGES) + 4  # of files in `mixed`, beside the flipped one


def test_a_folder_of_everything_still_gives_its_good_records(mixed: Path) -> None:
    frame, problems = read(find([mixed]))
    assert {"torch", "mlx", "long"} <= set(frame["arm"])
    assert LEFT_OUT <= len(problems) <= LEFT_OUT + 1
    long = frame.filter(arm="long")
    assert len(long["reason"][0]) < 2 * soundness.LONGEST_TEXT
    assert len(long["warnings"][0]) == soundness.MOST_WARNINGS


def test_report_compare_and_merge_go_on_without_them(mixed: Path, tmp_path: Path) -> None:
    index = build([mixed], tmp_path / "out")
    assert index.stat().st_size < 2_000_000
    assert {"torch", "mlx", "long"} <= set(pl.read_parquet(tmp_path / "out" / "results.parquet")["arm"])
    table = compare(f"{mixed}:torch", f"{mixed}:mlx")
    assert len(table.rows) >= 1
    merged = merge([mixed], tmp_path / "all.parquet")
    assert len(merged.problems) >= LEFT_OUT
    assert compare(f"{tmp_path / 'all.parquet'}:torch", f"{tmp_path / 'all.parquet'}:mlx").rows
    frame, problems = read([tmp_path / "all.parquet"])
    assert (frame.height, problems) == (merged.records, [])


def test_a_merged_file_stands_for_its_folders_and_counts_nothing_twice(tmp_path: Path) -> None:
    for arm in ("torch", "mlx"):
        write(measured(arm, random.Random(0)), tmp_path / arm)
    first = merge([tmp_path / "torch", tmp_path / "mlx"], tmp_path / "all.parquet")
    assert (first.records, first.doubles, first.problems) == (2, 0, [])
    again = merge([tmp_path / "torch", tmp_path / "all.parquet"], tmp_path / "again.parquet")
    assert (again.records, again.doubles) == (2, 1)
    build([tmp_path / "all.parquet"], tmp_path / "out")
    assert len(pl.read_parquet(tmp_path / "out" / "results.parquet")) == 2
    with pytest.raises(ConfigError, match="There is no folder"):
        merge([tmp_path / "nowhere"], tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="cannot be written"):
        merge([tmp_path / "torch"], tmp_path / "torch" / "record.parquet" / "x.parquet")


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(measured("torch", random.Random(0)), tmp_path / "in" / "good")
    changed(tmp_path / "in" / "bad", status=None)
    commands.app(["merge", str(tmp_path / "in"), "--out", str(tmp_path / "all.parquet")], standalone_mode=False)
    out, err = capsys.readouterr()
    assert out == f"1 record in {tmp_path / 'all.parquet'}\n"
    assert "bad/record.parquet: left out, not a record (it has no status)" in err
    with pytest.raises(SystemExit, match="2"):
        commands.app(["merge", str(tmp_path / "in" / "bad"), "--out", str(tmp_path / "x.parquet")])


@pytest.mark.parametrize("values", [{"status": "weird"}, {"arm": None}, {"latency_samples_ns": [[[0]]]}])
def test_a_bad_record_does_not_make_a_gate_say_slower(tmp_path: Path, values: dict[str, Any]) -> None:
    for side in ("a", "b"):
        write(measured("torch", random.Random(2), sweep_id=side), tmp_path / side / "good")
    changed(tmp_path / "b" / "bad", **values, seq_len=999)
    with pytest.raises(SystemExit) as end:
        commands.app(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--fail-if-slower", "50%"])
    assert end.value.code == 0
