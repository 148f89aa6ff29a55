"""`mtbench resume` as a user runs it: real workers, killed and gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from mtbench.results import record as records
from mtbench.results.estimates import estimate
from mtbench.results.samples import tick_of

SWEEP = [
    "operator=softmax", "framework=numpy", "shape.seq_len=1,2,3,4,5,6,7,8", "sweep=none", "protocol=quick",
    "protocol.restarts=1", "protocol.looks=[3]", "protocol.warmup_cap_s=0.5", "protocol.block_ms=2",
    "hydra.sweep.dir=out", "-m",
]  # fmt: skip


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mtbench", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )


def run(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def times(folder: Path) -> dict[Path, int]:
    there = [folder] if folder.exists() else []  # it is not yet, where a sweep has only begun
    return {path: path.stat().st_mtime_ns for path in records.find(there)}


def read(folder: Path) -> pl.DataFrame:
    frame, problems = records.read(records.find([folder]))
    assert problems == []
    return frame


def test_a_sweep_whose_controller_is_killed_again_and_again_ends_whole_and_measures_nothing_twice(tmp_path):
    out = tmp_path / "out"
    kept: dict[Path, int] = {}
    command = SWEEP
    for at_least in (2, 4, 6):
        process = start(*command, cwd=tmp_path)
        deadline = time.monotonic() + 240
        while len(times(out)) < at_least and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there = times(out)
        assert there.items() >= kept.items()
        kept = there
        command = ["resume", "out"]
    assert len(kept) >= 6
    counted = run("resume", "out", "--dry-run", cwd=tmp_path)
    assert times(out) == kept
    left = 8 - len(kept)
    cells = f"{left} in {left} {'cell' if left == 1 else 'cells'} are left"
    assert counted.stdout == (
        f"out: {len(kept)} of 8 jobs are done; {cells}.\n" if left else "out: all 8 jobs are done; nothing is left.\n"
    )
    last = run(*SWEEP, cwd=tmp_path)  # the same command goes on as `resume` does
    assert last.returncode == 0, last.stderr
    assert last.stdout.startswith("out holds this sweep: ")
    assert times(out).items() >= kept.items()
    frame = read(out)
    assert frame["status"].to_list() == ["ok"] * 8
    assert frame["sweep_id"].n_unique() == 1
    assert list(out.rglob("*.partial")) == []
    done, kept = run("resume", "out", cwd=tmp_path), times(out)
    assert (done.returncode, done.stdout) == (0, "out: all 8 jobs are done; nothing is left.\n")
    assert times(out) == kept


def test_a_single_run_is_sharpened_for_real(tmp_path):
    one = [*SWEEP[:2], "shape.seq_len=4", *SWEEP[4:-2], "protocol.restarts=2", "hydra.run.dir=one"]
    first = run(*one, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (before,) = read(tmp_path / "one").to_dicts()
    more = run("resume", "one", "protocol.restarts=4", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    (after,) = read(tmp_path / "one").to_dicts()
    assert (before["restarts"], after["restarts"]) == (2, 4)
    assert after["latency_samples_ns"][:2] == before["latency_samples_ns"]
    assert after["sweep_id"] == before["sweep_id"]
    samples = after["latency_samples_ns"], after["throughput_samples_ns"]
    found = estimate(*samples, target=0.03, tick_ns=tick_of(after))
    assert (after["latency_low_ns"], after["latency_high_ns"]) == (found.latency_low_ns, found.latency_high_ns)


def test_what_is_no_sweep_is_said_in_one_line(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plan.json").write_text('{"jobs": 3}')
    for folder, says in (("nowhere", "it has no plan.json"), ("broken", "cannot be read")):
        result = run("resume", folder, cwd=tmp_path)
        assert result.returncode == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
