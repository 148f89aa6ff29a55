"""Files and folders are written whole or not at all, and nothing is left of a write that a crash ended."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from mtbench import paths
from mtbench.paths import write_atomically
from mtbench.results.files import exists, find


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def half(file: BinaryIO) -> None:
    file.write(b"half")
    file.flush()
    raise RuntimeError("stopped")


@pytest.mark.parametrize("content", [b"\xc3\xa4", "ä", lambda file: file.write(b"\xc3\xa4")])
def test_bytes_text_and_a_function_are_written(content: object, tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.txt"
    write_atomically(file, content)  # type: ignore[arg-type]
    assert file.read_bytes() == b"\xc3\xa4"
    assert names(file.parent) == ["a.txt"]


def test_a_file_is_as_readable_as_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_the_old_file_stays_where_a_write_fails(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(RuntimeError):
        write_atomically(file, half)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_atomically(tmp_path / "a", "text")
    assert names(tmp_path) == ["a"]


def killed(program: str, *arguments: Path) -> None:
    """Runs a program that ends itself as kill -9 would."""
    imports = "import os, signal; from pathlib import Path; from mtbench import paths; import sys\n"
    command = [sys.executable, "-c", imports + program, *map(str, arguments)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    file = tmp_path / "a[1].txt"
    killed("paths.write_atomically(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))", file)
    assert len(names(tmp_path)) == 1
    write_atomically(tmp_path / "b", "")  # another file's
    assert len(names(tmp_path)) == 2
    write_atomically(file, "whole")
    assert names(tmp_path) == [file.name, "b"]


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a"

    def slow(opened: BinaryIO) -> None:
        write_atomically(file, "quick")  # as another process would, meanwhile
        opened.write(b"slow")

    write_atomically(file, slow)
    assert file.read_text() == "slow"
    assert names(tmp_path) == ["a"]


def test_a_folder_is_built_beside_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with paths.building(folder) as building:
        assert building.parent == folder.parent
        (building / "part").write_text("")
        with paths.building(folder):  # another process's, which leaves this one alone
            pass
        assert (building / "part").exists()
        building.rename(folder)
    assert names(folder.parent) == ["model"]
    assert names(folder) == ["part"]


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "with paths.building(Path(sys.argv[1])) as new:\n (new / 'a').touch()\n os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed(program, tmp_path / "model")
    assert len(names(tmp_path)) == 1
    with paths.building(tmp_path / "model"):
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []


def test_of_a_name_that_cannot_be_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert exists(tmp_path / "there")
    assert not exists(tmp_path / ("a" * 300))
    assert not exists(tmp_path / "null\0byte")
    assert find([tmp_path / ("a" * 300)]) == [tmp_path / ("a" * 300)]  # whoever reads it says what is wrong
