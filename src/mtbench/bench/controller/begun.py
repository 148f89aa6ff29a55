"""What earlier runs left of a sweep that goes on: complete records, and the restarts that incomplete ones hold.

Restarts are independent of each other, so those measured today stand beside yesterday's as if they had been measured at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mtbench.bench.controller.energy import Energy
from mtbench.bench.controller.job_state import ENDED_EARLY, JobState
from mtbench.bench.wire import Finished, Prepared
from mtbench.errors import ConfigError
from mtbench.machine.watch import Reading
from mtbench.plain import from_plain
from mtbench.plan.accuracy import Divergence, Errors
from mtbench.plan.jobs import Job
from mtbench.results.limits import ROOF_UNSURE
from mtbench.results.record import Record

OF_RESULTS = ("restarts disagree", "not converged", "overhead_bound", ROOF_UNSURE)
"""The beginnings of the warnings that follow from all samples and from the roofs. They are made anew with these."""

NO_ENERGY = "not available here: "


@dataclass(frozen=True)
class Begun:
    """`states` of jobs that have restarts already, by job; `restarts` that a cell has, by cell; `kept` are records that
    nothing is added to; `libraries` the version and the kind of device that each arm was measured with, by its name; `order`
    the jobs of the whole plan.
    """

    states: Mapping[str, JobState] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    kept: Sequence[Record] = ()
    libraries: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    order: Sequence[str] = ()

    def with_kept(self, measured: Sequence[Record]) -> list[Record]:
        """The records of the whole sweep, in the plan's order: the first arm of a cell is what others are compared with."""
        places = {job: number for number, job in enumerate(self.order)}
        return sorted([*self.kept, *measured], key=lambda record: places.get(record.job_id, 0))

    def check(self, states: Sequence[JobState]) -> None:
        """Raises ConfigError where a worker's library is another than the records' one: times of both must not be mixed."""
        for state in states:
            before = self.libraries.get(state.arm)
            if before is None or state.worker is None:
                continue
            ran = state.worker.description
            if (ran.version, ran.device_kind) != before:
                raise ConfigError(
                    f"The records of {state.arm} are of version {before[0]} on {before[1]}, but it is {ran.version} on "
                    f"{ran.device_kind} now: install version {before[0]} to go on, or measure into another folder."
                )


def state_of(job: Job, record: Record, restarts: int) -> JobState:
    """A job's state as it was after the first `restarts` of its record."""
    state = JobState(job)
    state.latency_ns = [list(rounds) for rounds in record.latency_samples_ns[:restarts]]
    state.throughput_ns = [list(rounds) for rounds in record.throughput_samples_ns[:restarts]]
    state.token_ns = [list(calls) for calls in record.token_samples_ns[:restarts]]
    state.conditions = [from_plain(Reading, reading) for reading in json.loads(record.conditions)[:restarts]]
    state.warnings = [warning for warning in record.warnings if not warning.startswith((*OF_RESULTS, ENDED_EARLY))]
    state.floor_ns, state.paired, state.canary_drift = record.floor_ns, record.paired, record.canary_drift
    state.started_at, state.gpu_id = record.started_at, record.gpu_id
    state.energy = _energy(record)
    state.check_seed = record.check_seed
    errors = Errors(record.verify_error or 0.0, record.verify_row_error or 0.0, record.verify_element_error or 0.0)
    prepared = Prepared(
        first_call_ns=record.first_call_ns or 0,
        warmup_ns=record.warmup_ns or 0,
        errors=errors,
        flops=record.flops,
        bytes_moved=record.bytes_moved or 0.0,
        calls_per_block=record.calls_per_block or 0,
        throughput_calls=record.throughput_calls or 0,
        calls_per_sample=record.calls_per_sample or 1,
        compiled_with=json.loads(record.compiled_with),
    )
    finished = Finished(errors, record.peak_kind or "", record.device_ns, record.peak_bytes, growth=record.growth_bytes)
    if state.unverified is not None:  # only the record says how many there are
        finished = replace(finished, tokens=record.tokens)
    if record.rounding_error is not None:
        apart = (record.rounding_positions or 0, record.kl_divergence_nats, record.top1_agreement)
        finished = replace(finished, divergence=Divergence(record.rounding_error, *apart))
    # A record has the sum of all warm-ups, so one restart gets it all, and one device time, so each restart gets that.
    state.prepared = [prepared, *[replace(prepared, warmup_ns=0)] * (restarts - 1)]
    state.finished = [finished] * restarts
    return state


def _energy(record: Record) -> Energy | str | None:
    if record.energy_joule is not None:
        return Energy(record.energy_joule, record.idle_watt or 0.0, record.energy_kind or "")
    said = record.energy_kind
    return None if said is None else said.removeprefix(NO_ENERGY)
