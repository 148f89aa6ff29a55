"""What is known of one job so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from mtbench.bench.controller.energy import Energy
from mtbench.bench.rates import Rates
from mtbench.bench.wire import Finished, LatencyBlock, Prepared, Started, ThroughputBlock
from mtbench.catalogue import registry
from mtbench.errors import ConfigError
from mtbench.frameworks.base import Framework
from mtbench.machine.nvidia import VISIBLE, Ordinal
from mtbench.machine.watch import Reading
from mtbench.plan.accuracy import Errors
from mtbench.plan.jobs import Job
from mtbench.plan.protocol import Protocol
from mtbench.results.prior import Earlier
from mtbench.results.private import without_home
from mtbench.results.record import now
from mtbench.results.samples import block_statistic, middle

DEATHS = ("crashed", "oom", "timeout")
"""Statuses of a worker that died, or had to be ended."""

ENDED_EARLY = "ended early: "
"""The beginning of the warning that a record has fewer restarts than asked for, since its worker died. The status follows."""


@dataclass(frozen=True)
class Place:
    """Where a part of a sweep runs, and beside what. `processors` are those that it may use, empty for all; `beside` is how
    many parts run on the machine at the same time, itself included; `machine_processors` how many processors those have
    together."""

    engine: str = "local"
    job: str | None = None  # its name in the engine
    shard: int | None = None
    processors: tuple[int, ...] = ()
    beside: int = 1
    machine_processors: int | None = None


@dataclass(frozen=True)
class Sweep:
    """What all records of one run share."""

    id: str
    protocol: Protocol
    machine_id: str
    machine: Mapping[str, Any]
    place: Place = Place()
    earlier: tuple[Earlier, ...] = ()

    @property
    def processors(self) -> int | None:
        """How many processors the machine's load is compared with; None for those that this process may use."""
        return self.place.machine_processors


@dataclass
class JobState:
    """One job, as it is being measured. `status` is None until something final is known.

    Samples are of finished visits, [restart][round], and those of `visit_...` of the visit under way.
    """

    job: Job
    status: str | None = None
    reason: str | None = None
    warnings: list[str] = field(default_factory=list)
    worker: Started | None = None  # what the arm's worker said of itself
    gpu_id: str | None = None
    floor_ns: float | None = None
    prepared: list[Prepared] = field(default_factory=list)  # [restart]
    finished: list[Finished] = field(default_factory=list)
    failed_errors: Errors | None = None  # of an answer that was refused as wrong
    paired: bool | None = None  # whether all visits had the arms of the cell side by side
    check_seed: int | None = None
    canary_drift: float | None = None
    energy: Energy | str | None = None  # or why there is none
    latency_ns: list[list[list[int]]] = field(default_factory=list)
    throughput_ns: list[list[float]] = field(default_factory=list)
    token_ns: list[list[list[int]]] = field(default_factory=list)  # [restart][call][token], of calls that make a text
    visit_latency_ns: list[list[int]] = field(default_factory=list)
    visit_blocks_ns: list[float] = field(default_factory=list)  # the statistic of each of these blocks
    visit_token_ns: list[list[int]] = field(default_factory=list)  # [call][token]
    visit_throughput_ns: list[float] = field(default_factory=list)
    visit_disturbance: list[float] = field(default_factory=list)  # of each block: wire.ThroughputBlock
    blocks_ns: float = 0.0  # what all blocks took
    conditions: list[Reading] = field(default_factory=list)  # the machine during each visit
    started_at: datetime | None = None
    peaks: Rates = field(
        default_factory=Rates
    )  # the best of all libraries that compute alike, as far as they are known
    roofs_set_by: tuple[str | None, str | None] = (None, None)  # the libraries that reached these: FLOP/s, bytes/s
    ended_early: bool = False  # its worker died in a later restart: no more is measured, and what there is stays

    @property
    def gpu(self) -> Ordinal:
        """The GPU that the arm uses, if it uses one."""
        return Ordinal(self.job.arm.device_index or 0, dict(self.job.arm.env).get(VISIBLE))

    @property
    def device(self) -> str:
        """cpu or gpu, as far as it is known."""
        return self.job.arm.device if self.worker is None else self.worker.description.device

    @property
    def shortest_call_ns(self) -> float | None:
        """The shorter of the current visit's median latency and throughput."""
        if not self.visit_throughput_ns or self.running_median_ns is None:
            return None
        return min(self.running_median_ns, middle([self.visit_throughput_ns]))

    @property
    def bytes_moved(self) -> float | None:
        return self.prepared[-1].bytes_moved if self.prepared else None

    @property
    def arm(self) -> str:
        return self.job.arm.name

    @property
    def counted_tokens(self) -> float | None:
        """The tokens of a call, the mean over all calls of all restarts, where workers counted those that came."""
        counted = [each.tokens for each in self.finished if each.tokens is not None]
        return sum(counted) / len(counted) if counted else None

    @property
    def unverified(self) -> str | None:
        """Why this job's answers cannot be checked; None where they are. The framework's class says so: the worker may not have
        started."""
        arm = self.job.arm
        try:
            framework: type[Framework] = registry.load("framework", arm.framework, arm.framework_file)
        except ConfigError:  # there is none of that name: its worker says so
            return None
        return framework.unverified

    @property
    def failed(self) -> bool:
        """Whether no more can be measured."""
        return self.status is not None or self.ended_early

    def fail(self, status: str, reason: str, errors: Errors | None = None) -> None:
        """Ends the job. Samples of finished visits stay in the record, but give no speed any more. They still do where the
        worker died, or cannot be started again, since that says nothing against what it measured in earlier restarts."""
        if status in (*DEATHS, "unsupported") and self.latency_ns:
            said = without_home(reason).splitlines()[0]
            self.ended_early = True
            self.warnings.append(f"{ENDED_EARLY}{status} in restart {len(self.latency_ns) + 1}: {said}")
            return
        self.status, self.failed_errors = status, errors
        self.reason = without_home(reason)  # tracebacks name the user's folders

    def note_prepared(self, answer: Prepared) -> None:
        self.prepared.append(answer)
        self._note_warnings(answer.warnings)

    def note_finished(self, answer: Finished) -> None:
        self.finished.append(answer)
        self._note_warnings(answer.warnings)

    def _note_warnings(self, warnings: Sequence[str]) -> None:
        self.warnings += [warning for warning in warnings if warning not in self.warnings]

    def note_drift(self, drift: float, threshold: float) -> None:
        """The canary's trend over a restart; the largest of all restarts stays."""
        if abs(drift) >= abs(self.canary_drift or 0.0):
            self.canary_drift = drift
        self.warnings = [warning for warning in self.warnings if not warning.startswith("drifted")]
        if self.canary_drift is not None and abs(self.canary_drift) > threshold:
            self.warnings.append(f"drifted: the canary changed by {100 * self.canary_drift:+.1f} % over a restart")

    def note_round(self, latency: LatencyBlock, throughput: ThroughputBlock) -> None:
        self.visit_latency_ns.append(latency.samples_ns)
        self.visit_blocks_ns.append(block_statistic(latency.samples_ns))
        self.visit_throughput_ns.append(throughput.call_ns)
        self.visit_disturbance.append(throughput.disturbance)
        sizes = self.prepared[-1]
        self.blocks_ns += sum(latency.samples_ns) * sizes.calls_per_sample + throughput.mean_ns * sizes.throughput_calls
        self.visit_token_ns += [
            [after - before for before, after in pairwise([0, *each])] for each in latency.stamps_ns
        ]

    def begin_visit(self) -> None:
        self.visit_latency_ns, self.visit_blocks_ns, self.visit_throughput_ns = [], [], []
        self.visit_disturbance, self.visit_token_ns = [], []
        self.started_at = self.started_at or now()

    def end_visit(self) -> None:
        self.latency_ns.append(self.visit_latency_ns)
        self.throughput_ns.append(self.visit_throughput_ns)
        self.token_ns += [self.visit_token_ns] if self.visit_token_ns else []
        self.visit_latency_ns, self.visit_blocks_ns, self.visit_throughput_ns, self.visit_token_ns = [], [], [], []

    @property
    def running_median_ns(self) -> float | None:
        """The median of the current visit's blocks."""
        return middle([[each] for each in self.visit_blocks_ns]) if self.visit_blocks_ns else None
