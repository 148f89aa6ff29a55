"""Two runs in one folder: the second is refused while the first lives, and by nothing that the first left."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mtbench.engines.claim import FILE, claimed
from mtbench.errors import ConfigError
from mtbench.launch.commands import app

HOLD = """\
import pathlib, sys, time
from mtbench.engines.claim import claimed

with claimed(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_with_the_first_ones_pid_until_that_is_killed(holder, tmp_path):
    with (
        pytest.raises(ConfigError, match=rf"process {holder.pid} already measures into this folder"),
        claimed(tmp_path),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / FILE).exists()  # nobody could remove it
    with claimed(tmp_path):
        assert (tmp_path / FILE).read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_resume_is_refused_in_one_line(holder, tmp_path):
    refused = CliRunner().invoke(app, ["resume", str(tmp_path)])
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"mtbench resume: {tmp_path}: process {holder.pid} already measures into this folder; wait until that process has "
        "ended, or end it.\n"
    )


def test_a_run_waits_for_one_that_is_ending(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)  # which takes it a moment
    with claimed(tmp_path, patience_s=60):
        pass


def test_a_file_system_without_locks_holds_nobody_up(monkeypatch, tmp_path):
    def unlockable(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unlockable)
    with claimed(tmp_path), claimed(tmp_path):
        pass


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_whatever_stands_in_its_place_holds_nobody_up(make, tmp_path):
    make(tmp_path / FILE)
    with claimed(tmp_path):
        pass
    with claimed(tmp_path / "nowhere"):
        pass
