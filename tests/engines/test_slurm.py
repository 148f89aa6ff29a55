"""Shards on a real SLURM, where one answers: preempted, killed, requeued, left alone and gone on with. It may have one node.

Continuous integration has none. Debian's slurmctld, slurmd and munge make one on a single machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mtbench.engines import shards
from mtbench.results import record as records


def slurm_answers() -> bool:
    if shutil.which("sinfo") is None:
        return False
    try:
        asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


pytestmark = pytest.mark.skipif(not slurm_answers(), reason="needs a SLURM that answers sinfo")
SWEEP = [
    "operator=softmax", "framework=numpy", "shape.seq_len=1,2,3,4", "sweep=none", "protocol=quick", "protocol.restarts=2",
    "protocol.looks=[5]", "protocol.warmup_cap_s=0.5", "protocol.block_ms=50", "engine=slurm", "engine.shards=2",
    "engine.minutes=20", "hydra.sweep.dir=out",
]  # fmt: skip


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mtbench", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def status(folder: Path, number: int) -> str | None:
    state = shards.read_state(folder, number)
    return None if state is None else state.status


def shown(cwd: Path) -> list[str]:
    """What `mtbench status` says of each shard."""
    _, said = finish(start("status", "out", cwd=cwd))
    return [line.split()[1] for line in said.splitlines()[2:] if line.split()[:1] in (["0"], ["1"])]


def job_of(folder: Path, number: int) -> str:
    dealt = shards.read(folder)
    assert dealt is not None
    return dealt.jobs[str(number)]


def at_once(job: str) -> None:
    """SLURM lets a job that was queued again wait for two minutes."""
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def queued(job: str) -> str:
    asked = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={job}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def test_shards_that_are_preempted_requeued_or_killed_go_on_until_all_is_measured(tmp_path):
    out = tmp_path / "out"
    code, said = finish(start(*SWEEP, "engine.wait=false", "-m", cwd=tmp_path))
    assert code == 0, said
    assert "`mtbench status out` shows how far they are" in said

    until(lambda: out.exists() and len(records.find([out])) >= 1)
    before = {path: path.stat().st_mtime_ns for path in records.find([out])}
    subprocess.run(["scancel", "--signal=USR2", job_of(out, 0)], check=True)  # as SLURM does before it preempts
    until(lambda: queued(job_of(out, 0)) == "PENDING")
    assert shown(tmp_path)[0] == "waiting"
    at_once(job_of(out, 0))

    until(lambda: status(out, 1) == "running" and len(records.find([out])) > len(before))
    subprocess.run(["scontrol", "requeue", job_of(out, 1)], check=True)
    until(lambda: queued(job_of(out, 1)) == "PENDING")
    assert shown(tmp_path)[1] == "waiting"
    assert status(out, 1) == "interrupted"  # it was told, and kept what it had

    until(lambda: queued(job_of(out, 0)) == "RUNNING" and status(out, 0) == "running")
    pids = subprocess.run(["pgrep", "-f", f"submitit.core._submit {out}"], capture_output=True, text=True, check=True)
    os.kill(max(map(int, pids.stdout.split())), signal.SIGKILL)
    until(lambda: queued(job_of(out, 0)) == "")
    assert shown(tmp_path)[0] == "lost"

    waiting = start("resume", "out", cwd=tmp_path)
    until(lambda: job_of(out, 0).isdecimal())  # submitted again, alone
    waiting.send_signal(signal.SIGINT)
    code, said = finish(waiting)
    assert code == 130
    assert "Interrupted; the jobs go on." in said
    at_once(job_of(out, 1))
    code, said = finish(start("resume", "out", cwd=tmp_path))
    assert code == 0, said
    assert shown(tmp_path) == ["done", "done"]
    frame, problems = records.read(records.find([out]))
    assert problems == []
    assert frame["status"].to_list() == ["ok"] * 4
    assert frame["restarts"].to_list() == [2] * 4
    assert frame["engine"].unique().to_list() == ["slurm"]
    assert frame.filter(pl.col("shard") == 1)["engine_job"].unique().to_list() == [job_of(out, 1)]
