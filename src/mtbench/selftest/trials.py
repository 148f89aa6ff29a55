"""Sweeps of subjects whose truth is known, through the same controller, workers and records as any sweep."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtbench.engines import local
from mtbench.frameworks.base import Description
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Task, plan
from mtbench.plan.jobs import job as make_job
from mtbench.plan.protocol import Protocol
from mtbench.results.comparison import compare
from mtbench.results.record import Record
from mtbench.results.samples import blocks
from mtbench.results.stats import Interval
from mtbench.results.verdicts import Comparison

SUBJECTS = Path(__file__).parent / "subjects"

TOLERANCE = 1e-5

DURATIONS_MS = (0.1, 1.0, 10.0)

WIDTHS = {"cpu": 16, "cuda": 1024, "mps": 512}
"""Sides of the product: on a CPU below what a library spreads over threads, on a GPU long against its launch."""

BLOCK_MS = {"cpu": 10.0, "gpu": 20.0}
"""On a CPU shorter than by default, for there are many, but long against a scheduler's time slice of 3 to 4 ms. On a GPU as by
default: a call takes 5.7 ms there (H200), and a block of one call is the wait for it as well, which came and went by 2 %: with
four calls, the medians of four restarts lay within 0.2 % of each other, with one within 1 %."""

CALL_TIMES_IN_A_LOOK = 1000


class Broken(Exception):
    """Something that was to be measured was not; the message says what happened."""


@dataclass(frozen=True)
class Busy:
    """What the harness made of a call of known duration."""

    duration_ms: float
    ratio: Interval  # measured over true
    blocks: int


@dataclass(frozen=True)
class Series:
    """How often contenders are compared. The budget ends it between two batches.

    Few cells in many batches, since the cells of a batch share its workers: one pair of unequal workers called 5 of 50 equal
    arms different; the next batch called none of 50.

    Several restarts, where time allows: a process keeps its place in the system, and the neighbours there, until it ends.
    This makes two equal processes differ for longer than any number of rounds takes.
    """

    restarts: int
    rounds: int  # of one comparison, over all restarts
    cells: int  # in each batch, which is a sweep of its own
    batches: int
    budget_s: float


@dataclass
class Found:
    """Comparisons of contenders with the native form, by the contender's variant."""

    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    cpus: list[int] = field(default_factory=list)
    cells: int = 0
    batches: int = 0

    def describe(self, series: Series) -> str:
        """What it came from."""
        cells = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        restarts = "1 restart" if series.restarts == 1 else f"{series.restarts} restarts"
        sweeps = "1 sweep" if self.batches == 1 else f"{self.batches} sweeps"
        core = f", on processor {self.cpus[0]} alone" if self.cpus else ""
        return f"{cells} of {series.rounds} rounds in {restarts}, each in latency and throughput, in {sweeps}{core}"


def clock_ns() -> float:
    """What one look at the clock costs, nanoseconds."""
    samples = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(CALL_TIMES_IN_A_LOOK):
            time.perf_counter_ns()
        samples.append((time.perf_counter_ns() - start) / CALL_TIMES_IN_A_LOOK)
    return min(samples)


def busy_wait(rounds: int, folder: Path) -> list[Busy]:
    """Measures calls of known duration. Raises Broken."""
    protocol = Protocol(restarts=1, looks=[rounds], cell_budget_s=600.0, warmup_s=0.05)
    jobs = [
        job("busy_wait", {"duration_ms": duration}, Arm("numpy", device="cpu"), Shape(1, 4))
        for duration in DURATIONS_MS
    ]
    records = sweep(jobs, protocol, folder)
    return [
        Busy(duration, _relative(record, duration * 1e6), record.rounds)
        for duration, record in zip(DURATIONS_MS, records, strict=True)
    ]


def _one_core() -> list[int]:
    """The last processor that this process may use, where it may choose.

    Arms on different cores of a shared machine differ by more than is injected here, as `protocol.cpus` says; the product
    is one that a library computes on one core anyway.
    """
    return [max(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else []


def _relative(record: Record, true_ns: float) -> Interval:
    values = (record.latency_ns, record.latency_low_ns, record.latency_high_ns, record.confidence)
    estimate, low, high, confidence = (value or 0.0 for value in values)
    return Interval(estimate / true_ns, low / true_ns, high / true_ns, confidence)


def contenders(library: Description, device: str, variants: Sequence[str], series: Series, folder: Path) -> Found:
    """Compares variants of a repeated product with its native form.

    Each batch of cells has fresh workers, since what tells two processes of one program apart must not be taken for a
    difference of the arms again and again. Each cell gives two comparisons of each variant: of latency and of throughput.
    Raises Broken.
    """
    found = Found(cpus=_one_core() if library.device == "cpu" else [])
    protocol = Protocol(
        cpus=found.cpus,
        restarts=series.restarts,
        looks=[series.rounds // series.restarts],
        cell_budget_s=600.0,
        block_calls=3,
        block_ms=BLOCK_MS[library.device],
        keep_warm_ms=1.0,
        warmup_s=0.05,
        warmup_gpu_s=0.1,
        warmup_cap_s=2.0,
    )
    width = WIDTHS[library.device_kind]
    arms = [Arm(library.library, variant=variant, device=device) for variant in ("native", *variants)]
    started = time.monotonic()
    for batch in range(series.batches):
        begun = time.monotonic()
        jobs = [
            job(
                "repeated_product",
                {"width": width, "trial": batch * series.cells + number},
                arm,
                Shape(1, width),
            )
            for number in range(series.cells)
            for arm in arms
        ]
        by_cell: dict[str, list[Record]] = {}
        for record in sweep(jobs, protocol, folder):
            by_cell.setdefault(record.cell_id, []).append(record)
        for native, *others in by_cell.values():
            for other in others:
                found.comparisons.setdefault(other.variant, []).extend(both(native, other))
        found.cells += len(by_cell)
        found.batches += 1
        now = time.monotonic()
        if now - started + (now - begun) > series.budget_s:
            break
    return found


def both(a: Record, b: Record) -> list[Comparison]:
    """B against A in latency and in throughput, by the rule of every verdict that a user sees. Raises Broken."""
    pairs = [compare(blocks(a, metric), blocks(b, metric)) for metric in ("latency", "throughput")]
    found = [one for one in pairs if one is not None]
    if len(found) < len(pairs):
        raise Broken(f"{a.arm} and {b.arm} have no round in common")
    return found


def job(operator: str, params: dict[str, Any], arm: Arm, shape: Shape) -> Job:
    """A job of a subject, its file given as a user's own operator's would be."""
    file = str(SUBJECTS / f"{operator}.py")
    return make_job(Task(operator, tuple(sorted(params.items())), "float32", shape, file), arm, TOLERANCE)


def sweep(jobs: Sequence[Job], protocol: Protocol, folder: Path) -> list[Record]:
    """The records of jobs, all of them ok. Raises Broken where one is not, KeyboardInterrupt where the user wants an end."""
    outcome = local.run(plan(jobs, protocol), folder)
    if outcome.interrupted:
        raise KeyboardInterrupt
    for record in outcome.records:
        if record.status != "ok":
            lines = (record.reason or "").strip().splitlines()
            raise Broken(
                f"{record.arm}, {record.operator}: {record.status}: {lines[-1] if lines else 'no reason given'}"
            )
    return list(outcome.records)
