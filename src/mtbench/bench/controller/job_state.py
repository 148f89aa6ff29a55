"""What is known of one job so far, and the record that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mtbench import __version__
from mtbench.bench.controller.energy import Energy
from mtbench.bench.protocol import Protocol
from mtbench.bench.rates import BYTES, FLOPS, Rates, limit_ns
from mtbench.bench.wire import Message
from mtbench.machine.watch import Reading
from mtbench.plan import Job
from mtbench.results.record import Record, now, to_json

if TYPE_CHECKING:
    from mtbench.results.inference import Prior
    from mtbench.results.stats import Interval

RESTARTS_APART = 0.2
"""Restarts differ by some per cent, on a shared machine by ten; more is something else that ran beside one. From three
restarts on the interval holds it."""

OVERHEAD_FRACTION = 0.1
"""A median of which the library's cheapest call takes more than this says little about the operator."""


@dataclass(frozen=True)
class Sweep:
    """What all records of one run share."""

    id: str
    protocol: Protocol
    machine_id: str
    machine: Mapping[str, Any]


@dataclass
class JobState:
    """One job, as it is being measured. `status` is None until something final is known."""

    job: Job
    status: str | None = None
    reason: str | None = None
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # record columns that a worker's answers gave
    description: dict[str, Any] = field(default_factory=dict)
    latency_ns: list[list[list[int]]] = field(default_factory=list)  # of finished visits: [restart][round][call]
    throughput_ns: list[list[float]] = field(default_factory=list)
    visit_latency_ns: list[list[int]] = field(default_factory=list)  # of the visit under way
    visit_throughput_ns: list[float] = field(default_factory=list)
    device_ns: list[float] = field(default_factory=list)  # [restart]
    conditions: list[Reading] = field(default_factory=list)  # the machine during each visit
    started_at: datetime | None = None
    peaks: Rates = field(default_factory=Rates)  # the best of all arms that compute alike, as far as they are known

    @property
    def device(self) -> str:
        """cpu or gpu, as far as it is known."""
        return str(self.description.get("device", self.job.arm.device))

    @property
    def shortest_call_ns(self) -> float | None:
        """The shorter of the current visit's median latency and throughput."""
        if not self.visit_throughput_ns or self.running_median_ns is None:
            return None
        return min(self.running_median_ns, median(self.visit_throughput_ns))

    @property
    def arm(self) -> str:
        return self.job.arm.name

    @property
    def failed(self) -> bool:
        return self.status is not None

    def fail(self, status: str, reason: str, error: float | None = None) -> None:
        """Something final happened. Samples of finished visits stay in the record, but give no speed any more."""
        self.status, self.reason = status, _nameless(reason)  # tracebacks name the user's folders
        if error is not None:
            self.facts["verify_error"] = error

    def note(self, answer: Message) -> None:
        """Takes an answer's facts in; the first call is that of the first restart, whose caches are coldest."""
        facts = {name: value for name, value in answer.items() if name not in ("ok", "warnings", "peaks")}
        if "first_call_ns" in self.facts:
            facts.pop("first_call_ns", None)
        if "verify_error" in self.facts and "verify_error" in facts:
            facts["verify_error"] = max(facts["verify_error"], self.facts["verify_error"])
        if "warmup_ns" in facts:
            facts["warmup_ns"] += self.facts.get("warmup_ns", 0)
        if facts.get("device_ns") is not None:
            self.device_ns.append(facts["device_ns"])
            facts["device_ns"] = median(self.device_ns)
        self.facts |= facts
        self.warnings += [warning for warning in answer.get("warnings", []) if warning not in self.warnings]

    def note_drift(self, drift: float, threshold: float) -> None:
        """The canary's trend over a restart; the largest of all restarts stays."""
        if abs(drift) >= abs(self.facts.get("canary_drift") or 0.0):
            self.facts["canary_drift"] = drift
        self.warnings = [warning for warning in self.warnings if not warning.startswith("drifted")]
        if abs(self.facts["canary_drift"]) > threshold:
            self.warnings.append(f"drifted: the canary changed by {self.facts['canary_drift']:+.1%} over a restart")

    def note_energy(self, energy: Energy | str) -> None:
        """Energy per call, or why there is none."""
        if isinstance(energy, str):
            self.facts["energy_kind"] = f"not available here: {energy}"
            return
        shape = self.job.cell.shape
        self.facts |= {
            "energy_joule": energy.joule,
            "energy_joule_per_token": energy.joule / self.job.cell.problem.tokens(shape),
            "idle_watt": energy.idle_watt,
            "energy_kind": energy.covers,
        }

    def begin_visit(self) -> None:
        self.visit_latency_ns, self.visit_throughput_ns = [], []
        self.started_at = self.started_at or now()

    def end_visit(self) -> None:
        self.latency_ns.append(self.visit_latency_ns)
        self.throughput_ns.append(self.visit_throughput_ns)
        self.visit_latency_ns, self.visit_throughput_ns = [], []

    @property
    def running_median_ns(self) -> float | None:
        """The median of the current visit's blocks."""
        return median(map(median, self.visit_latency_ns)) if self.visit_latency_ns else None

    def record(self, sweep: Sweep) -> Record:
        """The record of what is known now. A job without any finished visit that did not fail is `interrupted`."""
        cell, arm = self.job.cell, self.job.arm
        described = dict(self.description)
        status = self.status or ("ok" if self.latency_ns else "interrupted")
        record = Record(
            operator=cell.operator,
            framework=arm.framework,
            mode=arm.mode,
            variant=arm.variant,
            arm=arm.name,
            device=described.get("device", arm.device),
            dtype=cell.dtype,
            matmul_precision=arm.matmul_precision,
            batch_size=cell.shape.batch_size,
            seq_len=cell.shape.seq_len,
            kv_len=cell.shape.kv_len,
            params=_nameless(to_json(dict(cell.params))),  # a checkpoint's folder is one
            model=cell.model,
            sweep_id=sweep.id,
            cell_id=cell.id,
            job_id=self.job.id,
            status=status,
            reason=self.reason
            or ("interrupted before its first visit was finished" if status == "interrupted" else None),
            warnings=list(self.warnings),
            verify_tolerance=self.job.tolerance,
            restarts=len(self.latency_ns),
            rounds=sum(map(len, self.latency_ns)),
            latency_samples_ns=self.latency_ns,
            throughput_samples_ns=self.throughput_ns,
            conditions=to_json([_said(reading) for reading in self.conditions]),
            protocol=to_json(asdict(sweep.protocol)),
            seed=sweep.protocol.seed,
            started_at=self.started_at,
            finished_at=now(),
            library_version=described.get("version"),
            requirement=arm.requirement and arm.requirement.partition("@")[0].strip(),
            python_version=described.get("python_version"),
            device_kind=described.get("device_kind"),
            device_name=described.get("device_name"),
            threads=described.get("threads"),
            blas=described.get("blas"),
            library_details=to_json(described.get("details", {})),
            machine_id=sweep.machine_id,
            machine=to_json(dict(sweep.machine)),
            mtbench_version=__version__,
            **self.facts,
        )
        if status == "ok":
            self._summarise(record, sweep.protocol)
        return record

    def _summarise(self, record: Record, protocol: Protocol) -> None:
        from mtbench.results.inference import FEWEST_RESTARTS
        from mtbench.results.stats import outliers, percentile, relative_half_width

        blocks = block_medians(self.latency_ns)
        calls = [call for visit in self.latency_ns for block in visit for call in block]
        latency = interval(self.latency_ns, protocol.confidence)
        throughput = interval([[[value] for value in visit] for visit in self.throughput_ns], protocol.confidence)
        record.latency_ns, record.latency_low_ns, record.latency_high_ns = latency.estimate, latency.low, latency.high
        record.latency_p90_ns, record.latency_p99_ns = percentile(calls, 90), percentile(calls, 99)
        record.throughput_ns = throughput.estimate
        record.throughput_low_ns, record.throughput_high_ns = throughput.low, throughput.high
        record.confidence = latency.confidence
        problem = self.job.cell.problem
        if problem.counts_tokens:
            record.tokens = problem.tokens(self.job.cell.shape)
            record.tokens_per_s = record.tokens * 1e9 / throughput.estimate
        if problem.gives_first_token:
            record.time_to_first_token_ns = latency.estimate
        self._hold_against_the_roofs(record)
        record.outliers = len(outliers(blocks))
        half_width = relative_half_width(latency)
        record.converged = latency.confidence >= protocol.confidence and half_width <= protocol.target
        if len(self.latency_ns) > 1:
            medians = [median(map(median, visit)) for visit in self.latency_ns]
            record.restart_spread = (max(medians) - min(medians)) / median(medians)
            if record.restart_spread > RESTARTS_APART and len(medians) < FEWEST_RESTARTS:
                record.warnings.append(
                    f"restarts disagree: their medians lie {record.restart_spread:.0%} apart, more than is assumed of two"
                )
        if latency.confidence < protocol.confidence:
            record.warnings.append(
                f"not converged: {len(blocks)} blocks are too few for an interval at {protocol.confidence:.0%}"
            )
        elif not record.converged:
            record.warnings.append(f"not converged, ±{100 * half_width:.1f} %")
        if record.floor_ns is not None and record.floor_ns > OVERHEAD_FRACTION * latency.estimate:
            share = record.floor_ns / latency.estimate
            record.warnings.append(f"overhead_bound: the cheapest call of this library takes {share:.0%} of this")

    def _hold_against_the_roofs(self, record: Record) -> None:
        """What the call achieved, and the least time that the measured roofs allow.

        By throughput, since the roofs are measured with queued calls too: latency also holds the waiting.
        """
        flops, moved = record.flops, record.bytes_moved
        if flops is None or moved is None or record.throughput_ns is None:
            return
        roofs = self.peaks.at(moved)
        record.peak_flops_per_s, record.peak_bytes_per_s = roofs[FLOPS], roofs[BYTES]
        record.flops_per_s = flops / (record.throughput_ns * 1e-9)
        record.bytes_per_s = moved / (record.throughput_ns * 1e-9)
        record.limit_ns = limit_ns(flops, moved, roofs[FLOPS], roofs[BYTES])
        if record.limit_ns is not None:
            record.limit_fraction = record.limit_ns / record.throughput_ns


def interval(
    samples_ns: Sequence[Sequence[Sequence[float]]],
    confidence: float,
    *,
    tick_ns: float | None = None,
    prior: "Prior | None" = None,
) -> "Interval":
    """The time of a call, from [restart][round][call], with its interval: see `inference.time_interval`."""
    from mtbench.results.inference import time_interval
    from mtbench.results.ticks import block_ns

    restarts = [[block_ns(block, tick_ns) for block in visit] for visit in samples_ns]
    return time_interval(restarts, confidence, tick_ns=tick_ns, prior=prior)


def _nameless(text: str) -> str:
    """A text without the user's home, whose name records must not hold."""
    return text.replace(str(Path.home()), "~")


def _said(reading: Reading) -> dict[str, Any]:
    """What a reading says, without what it does not."""
    return {name: value for name, value in asdict(reading).items() if value is not None}


def block_medians(latency_ns: Sequence[Sequence[Sequence[int]]]) -> list[float]:
    """Each block's median, over all restarts in order: the statistic that inference works on, since single calls within a
    block are autocorrelated."""
    return [median(block) for visit in latency_ns for block in visit]
