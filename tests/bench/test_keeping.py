"""Records on a disk that fails: tried again, kept in memory, written later, and never silently lost."""

import errno
from pathlib import Path

import pytest

from mtbench.bench.controller import keeping
from mtbench.bench.controller.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records
from record_builder import record


class Noting(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Disk:
    """Refuses so many writes before it takes one."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def write(self, one: records.Record, folder: Path) -> Path:
        if self.refusals > 0:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return records.write(one, folder)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(0)
    monkeypatch.setattr(keeping, "write", made.write)
    return made


def test_a_moment_without_a_disk_costs_nothing(disk, tmp_path):
    disk.refusals = 2
    progress, rests = Noting(), []
    kept = keeping.Keeping(tmp_path, progress, rests.append)
    kept.write(record(), Path("a"))
    assert (tmp_path / "a" / records.FILE_NAME).exists()
    assert (progress.warnings, len(rests), kept.finish()) == ([], 2, 0)


def test_what_cannot_be_written_waits_in_memory_and_is_written_with_the_next(disk, tmp_path):
    disk.refusals = 4
    progress = Noting()
    kept = keeping.Keeping(tmp_path, progress, lambda _: None)
    kept.write(record(), Path("a"))
    kept.write(record("mlx"), Path("b"))
    assert not list(tmp_path.rglob(records.FILE_NAME))
    assert set(progress.warnings) == {
        f"a record cannot be written into {tmp_path} (No space left on device); the sweep goes on, and keeps in memory what it "
        "cannot write"
    }
    kept.write(record("numpy"), Path("c"))
    frame, _ = records.read(records.find([tmp_path]))
    assert sorted(frame["arm"]) == ["mlx", "numpy", "torch"]
    assert kept.finish() == 0


def test_a_newer_record_of_a_job_takes_the_place_of_the_one_that_waits(disk, tmp_path):
    disk.refusals = 3
    kept = keeping.Keeping(tmp_path, Noting(), lambda _: None)
    kept.write(record(restarts=1), Path("a"))
    kept.write(record(restarts=2), Path("a"))
    frame, _ = records.read(records.find([tmp_path]))
    assert frame["restarts"].to_list() == [2]


@pytest.mark.parametrize(("before", "says"), [(False, ""), (True, "; of 1 an earlier state is there")])
def test_what_is_lost_in_the_end_is_said_with_its_folder(disk, tmp_path, before, says):
    progress = Noting()
    kept = keeping.Keeping(tmp_path, progress, lambda _: None)
    if before:
        kept.write(record(), Path("a"))
    disk.refusals = 100
    kept.write(record(), Path("a"))
    assert kept.finish() == 1
    assert progress.warnings[-1] == f"1 record could not be written into {tmp_path} (No space left on device){says}"


def test_a_disk_that_is_too_small_is_named_before_the_sweep(tmp_path):
    assert keeping.check_space(tmp_path, 1, Protocol()) is None
    said = keeping.check_space(tmp_path, 10**12, Protocol())
    assert said is not None
    assert said.startswith(f"the disk of {tmp_path} has ")
    assert "1,000,000,000,000 jobs may take" in said
