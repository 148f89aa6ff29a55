"""Whole sweeps from the command line, as a user starts them: whether they repeat, and what they spend their time on."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mtbench.engines.local import TIMING
from mtbench.results import record as records
from mtbench.results.comparison import between
from mtbench.results.format import percent
from mtbench.results.record import Record
from mtbench.selftest.trials import Broken

DIFFERENT = 0.05
"""A cell whose time differs by more than this between two sweeps does not repeat."""

SHORT = (
    "protocol.restarts=1",
    "protocol.looks=[8]",
    "protocol.block_ms=5",
    "protocol.keep_warm_ms=5",
    "protocol.warmup_gpu_s=0.1",
)
"""So that a hundred jobs take a minute; with the default settings they would take ten."""

LAST_LINES = 3


@dataclass(frozen=True)
class Costs:
    """Where a sweep's wall-clock time went, in seconds. `waiting` is by request to a worker."""

    jobs: int
    wall_s: float
    timed_s: float  # first calls and blocks
    warm_s: float  # warm-up, and the calls before each block that keep a GPU awake
    waiting_s: Mapping[str, float]

    @property
    def outside(self) -> float:
        """The share of the sweep that is neither warm-up nor timed."""
        return 1 - (self.timed_s + self.warm_s) / self.wall_s

    @property
    def checks(self) -> float:
        """The share of the sweep that went into the checks that follow the blocks: of answers, and of honesty."""
        return self.waiting_s.get("finish", 0.0) / self.wall_s

    @property
    def controller_s(self) -> float:
        """What the controller itself took for each job: all the time in which it did not wait for a worker."""
        return (self.wall_s - sum(self.waiting_s.values())) / self.jobs

    def __str__(self) -> str:
        """The largest parts, in per cent of the sweep."""
        blocks = self.timed_s + self.warm_s
        measured = sum(self.waiting_s.get(name, 0.0) for name in ("prepare", "latency", "throughput"))
        parts = {
            "controller": self.wall_s - sum(self.waiting_s.values()),
            "around blocks and warm-up": measured - blocks,
            **{
                name: seconds
                for name, seconds in self.waiting_s.items()
                if name not in ("prepare", "latency", "throughput")
            },
        }
        largest = sorted(parts.items(), key=lambda part: -part[1])[:4]
        return ", ".join(f"{name} {percent(seconds / self.wall_s)}" for name, seconds in largest)


def run(arguments: Sequence[str], folder: Path) -> tuple[list[Record], Costs]:
    """Runs `python -m mtbench ARGUMENTS -m` into a folder; its records, and what it cost. Raises Broken."""
    command = [sys.executable, "-m", "mtbench", *arguments, f"hydra.sweep.dir={folder}", "-m"]
    started = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    wall_s = time.monotonic() - started
    if done.returncode != 0:
        told = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()][-LAST_LINES:]
        raise Broken(
            f"a sweep ended with exit code {done.returncode}: {' '.join(told)}".replace(str(folder), "its folder")
        )
    frame, problems = records.read(records.find([folder]))
    if problems:
        raise Broken(problems[0])
    found = records.of_rows(frame.sort("job_id"))
    return found, costs(found, wall_s, **json.loads((folder / TIMING).read_text()))


def costs(found: Sequence[Record], wall_s: float, waiting_s: Mapping[str, float], blocks_s: float) -> Costs:
    """Where a sweep's time went, by its records and its own account. What the blocks took is of that account: a record has the
    number of queued calls of its last restart alone, and another restart may have had twice or half as many."""
    first_ns = warm_ns = 0.0
    for one in found:
        blocks = sum(map(len, one.throughput_samples_ns))
        first_ns += one.first_call_ns or 0
        warm_ns += one.warmup_ns or 0
        if one.device == "gpu":
            warm_ns += 2 * blocks * json.loads(one.protocol)["keep_warm_ms"] * 1e6
    return Costs(len(found), wall_s, first_ns / 1e9 + blocks_s, warm_ns / 1e9, dict(waiting_s))


def ratios(one: Sequence[Record], other: Sequence[Record]) -> list[float]:
    """The times of a sweep over those of an earlier one of the same jobs: of latency and of throughput for each job.

    Raises Broken where the sweeps are not of the same jobs, or a job has no time.
    """
    if [each.job_id for each in one] != [each.job_id for each in other]:
        raise Broken("the same sweep had other jobs the second time")
    compared = [between(*pair, metric) for pair in zip(one, other, strict=True) for metric in ("latency", "throughput")]
    found = [each.ratio for each in compared if each is not None]
    if len(found) < len(compared):
        raise Broken("a job of the same sweep has no time")
    return found


def different(found: Sequence[float]) -> int:
    """How many ratios are more than DIFFERENT away from 1, whichever way."""
    return sum(max(ratio, 1 / ratio) > 1 + DIFFERENT for ratio in found)


def moved_together(found: Sequence[float]) -> str:
    """What all the second times have in common, and how many are different beside that.

    A process keeps what the system gives it at its start, so all its times are a little longer or a little shorter. What
    differs from job to job is something else.
    """
    common = median(found)
    apart = different([ratio / common for ratio in found])
    return f"the second time {100 * (common - 1):+.3g} % in the median, {apart} different beside that"
