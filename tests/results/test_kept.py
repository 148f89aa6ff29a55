"""Rows of many small files that are kept: read again only where a file has changed."""

import os
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mtbench import paths
from mtbench.results import kept, record
from record_builder import record as built

SCHEMA = {"a": pl.Int64}
ROWS = pl.DataFrame({"a": [1, 2], "path": ["x", "y"]})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return paths.cache() / "records"


def files_in(folder: Path, content: bytes = b"x", age_s: float = 60.0) -> list[Path]:
    """As many as are worth keeping, last changed so long ago."""
    files = [folder / f"{number:03}" / record.FILE_NAME for number in range(kept.FEWEST)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        os.utime(file, (time.time() - age_s,) * 2)
    return files


def known(files: list[Path]) -> list[tuple[Path, os.stat_result]]:
    return [(file, file.stat()) for file in files]


def test_what_was_kept_is_there_until_a_file_changes(cache: Path, tmp_path: Path) -> None:
    files = files_in(tmp_path / "in")
    assert kept.load(known(files), SCHEMA) is None
    kept.keep(ROWS, known(files), SCHEMA)
    again = kept.load(known(files), SCHEMA)
    assert again is not None
    assert_frame_equal(again, ROWS)
    assert kept.load(known(files), {"b": pl.Int64}) is None  # another version has other columns
    assert kept.load(known(files[:-1]), SCHEMA) is None
    os.utime(files[7], (1.0, 1.0))
    assert kept.load(known(files), SCHEMA) is None


def test_files_that_may_change_within_a_tick_are_not_kept(cache: Path, tmp_path: Path) -> None:
    files = files_in(tmp_path / "in", age_s=0.0)
    kept.keep(ROWS, known(files), SCHEMA)
    assert not cache.exists()


def test_without_a_place_for_it_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_in(tmp_path / "in")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept.keep(ROWS, known(files), SCHEMA)
    assert kept.load(known(files), SCHEMA) is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user number without a name has no home
    kept.keep(ROWS, known(files), SCHEMA)
    assert kept.load(known(files), SCHEMA) is None


def test_a_kept_file_that_is_broken_is_not_used(cache: Path, tmp_path: Path) -> None:
    files = files_in(tmp_path / "in")
    kept.keep(ROWS, known(files), SCHEMA)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert kept.load(known(files), SCHEMA) is None


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    for age, name in enumerate("abc"):
        (tmp_path / f"{name}.parquet").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.parquet", (1000 - age,) * 2)
    kept.make_room(tmp_path, most_bytes=250)
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "b"]


def test_records_are_read_again_where_one_was_written_anew(cache: Path, tmp_path: Path) -> None:
    content = record.write(built("torch", reason="before"), tmp_path / "one").read_bytes()
    files = files_in(tmp_path / "in", content)
    first, problems = record.read(files)
    assert problems == []
    assert len(list(cache.iterdir())) == 1
    assert_frame_equal(record.read(files)[0], first)
    record.write(built("torch", reason="after"), files[3].parent)
    assert record.read(files)[0]["reason"].to_list() == ["before"] * 3 + ["after"] + ["before"] * (len(files) - 4)
    files[5].write_bytes(content[:-9])
    assert [problem.partition(":")[0] for problem in record.read(files)[1]] == [str(files[5])]
