"""Sweeps of subjects whose truth is known: plans as any other, run and compared as any other."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtbench.engines import local
from mtbench.frameworks.base import Description
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Task, job, plan
from mtbench.plan.protocol import Protocol
from mtbench.results.cells import by_cell
from mtbench.results.comparison import between
from mtbench.results.format import plural
from mtbench.results.record import Record
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
        counts = ((self.cells, "cell"), (series.restarts, "restart"), (self.batches, "sweep"))
        cells, restarts, sweeps = (f"{count} {plural(count, what)}" for count, what in counts)
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
    arm = Arm("numpy", device="cpu")
    jobs = [subject("busy_wait", arm, Shape(1, 4), duration_ms=duration) for duration in DURATIONS_MS]
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
            subject("repeated_product", arm, Shape(1, width), width=width, trial=trial)
            for trial in range(batch * series.cells, (batch + 1) * series.cells)
            for arm in arms
        ]
        for _, (native, *others) in by_cell(sweep(jobs, protocol, folder)):
            for other in others:
                found.comparisons.setdefault(other.variant, []).extend(both(native, other))
        found.cells += series.cells
        found.batches += 1
        now = time.monotonic()
        if now - started + (now - begun) > series.budget_s:
            break
    return found


def both(a: Record, b: Record) -> list[Comparison]:
    """B against A in latency and in throughput. Raises Broken where they were not interleaved."""
    pairs = [between(a, b, metric) for metric in ("latency", "throughput")]
    found = [one for one in pairs if one is not None and one.interleaved]
    if len(found) < len(pairs):
        raise Broken(f"{a.arm} and {b.arm} have no round in common")
    return found


def subject(operator: str, arm: Arm, shape: Shape, **params: float) -> Job:
    """A job of a subject, its file given as a user's own operator's would be."""
    task = Task(operator, tuple(sorted(params.items())), "float32", shape, str(SUBJECTS / f"{operator}.py"))
    return job(task, arm, TOLERANCE)


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
