"""Records on a disk that fails: tried again, kept in memory, written later, and never silently lost."""

import resource
from pathlib import Path

import pytest

from mtbench.bench.controller import keeping
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records
from record_builder import record


class Noting(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Disk:
    """A disk of which nothing is free from `fill` to `free`: no file of this process grows. As a context it ends free, before
    pytest writes that the test has passed, maybe into a file."""

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.limits[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)

    def __enter__(self) -> "Disk":
        self.fill()
        return self

    def __exit__(self, *error: object) -> None:
        self.free()


def test_a_moment_without_a_disk_costs_nothing(tmp_path):
    progress, rests = Noting(), []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 2:
            disk.free()

    kept = keeping.Keeping(tmp_path, progress, rest)
    with Disk() as disk:
        kept.write(record(), Path("a"))
    assert (tmp_path / "a" / records.FILE_NAME).exists()
    assert (progress.warnings, len(rests), kept.finish()) == ([], 2, 0)


def test_what_cannot_be_written_waits_in_memory_and_is_written_with_the_next(tmp_path):
    progress = Noting()
    kept = keeping.Keeping(tmp_path, progress, lambda _: None)
    with Disk():
        kept.write(record(), Path("a"))
        kept.write(record("mlx"), Path("b"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert set(progress.warnings) == {
        f"a record cannot be written into {tmp_path} (File too large); the sweep goes on, and keeps in memory what it cannot "
        "write"
    }
    kept.write(record("numpy"), Path("c"))
    frame, _ = records.read(records.find([tmp_path]))
    assert sorted(frame["arm"]) == ["mlx", "numpy", "torch"]
    assert kept.finish() == 0


def test_a_newer_record_of_a_job_takes_the_place_of_the_one_that_waits(tmp_path):
    kept = keeping.Keeping(tmp_path, Noting(), lambda _: None)
    with Disk():
        kept.write(record(restarts=1), Path("a"))
    kept.write(record(restarts=2), Path("a"))
    frame, _ = records.read(records.find([tmp_path]))
    assert frame["restarts"].to_list() == [2]


@pytest.mark.parametrize(("before", "says"), [(False, ""), (True, "; 1 of them is there in an earlier state")])
def test_what_is_lost_in_the_end_is_said_with_its_folder(tmp_path, before, says):
    progress = Noting()
    kept = keeping.Keeping(tmp_path, progress, lambda _: None)
    if before:
        kept.write(record(), Path("a"))
    with Disk():
        kept.write(record(), Path("a"))
        lost = kept.finish()
    assert lost == 1
    assert progress.warnings[-1] == f"1 record could not be written into {tmp_path} (File too large){says}"


def test_a_disk_that_is_too_small_is_named_before_the_sweep(tmp_path):
    assert keeping.check_space(tmp_path, 1, Protocol()) is None
    said = keeping.check_space(tmp_path, 10**12, Protocol())
    assert said is not None
    assert said.startswith(f"the disk of {tmp_path} has ")
    assert "1,000,000,000,000 jobs may take" in said
