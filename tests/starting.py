"""What it takes until a sweep of many jobs has its first record: a benchmark to run by hand; nothing here is asserted.

`python tests/starting.py [JOBS ...]` starts real sweeps of softmax in NumPy and PyTorch over sequence lengths, ends each at its
first record, and prints the processor time of the controller (user and system) until then, and the time that passed, which
says little on a busy machine.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

FIRST = (
    "operator=softmax", "framework=numpy,torch", "sweep=none", "protocol=quick", "protocol.restarts=1", "protocol.looks=[3]",
    "protocol.warmup_cap_s=0.3", "protocol.peaks=cached", "hydra.sweep.dir=out", "-m",
)  # fmt: skip


def until_the_first_record(jobs: int, folder: Path) -> tuple[float, float]:
    """Processor time of the controller, and time that passed, in seconds."""
    lengths = f"shape.seq_len=range(1,{jobs // 2 + 1})"
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "mtbench", lengths, *FIRST], cwd=folder, stdout=subprocess.DEVNULL
    )
    controller = psutil.Process(process.pid)
    out, first = folder / "out" / "softmax", False
    spent = controller.cpu_times()
    while not first and process.poll() is None:
        spent = controller.cpu_times()
        first = _has_record(out)
        time.sleep(0.05)
    wall = time.monotonic() - started
    process.terminate()
    process.wait()
    return spent.user + spent.system, wall


def _has_record(out: Path) -> bool:
    """Whether the first cell, or any other, has a record; only the first folder of each arm is looked into."""
    return any(
        (next(iter(sorted(arm.glob("float32/b1_s1-*"))), arm) / "record.parquet").is_file() for arm in out.glob("*")
    )


def main() -> None:
    print("| jobs | processor time until the first record | time |\n|---:|---:|---:|")
    for jobs in map(int, sys.argv[1:] or ("10", "100", "1000", "10000")):
        with tempfile.TemporaryDirectory() as folder:
            spent, wall = until_the_first_record(jobs, Path(folder))
        print(f"| {jobs:,} | {spent:.1f} s | {wall:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
