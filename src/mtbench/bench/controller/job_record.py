"""The record that follows from what is known of a job."""

from dataclasses import asdict
from functools import reduce
from typing import Any

from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.machine.watch import Reading
from mtbench.plain import to_json
from mtbench.plan import accuracy
from mtbench.plan.accuracy import Errors
from mtbench.plan.protocol import Protocol
from mtbench.results.estimates import estimate
from mtbench.results.limits import ROOF_UNSURE, by_flops, per_second, reached
from mtbench.results.prior import columns_of, of_row
from mtbench.results.private import without_home
from mtbench.results.record import MEASURED, Record, now
from mtbench.results.samples import middle, tick_of, token_times
from mtbench.results.version import __version__

UNFINISHED = "interrupted before its first visit was finished"


def record_of(state: JobState, sweep: Sweep) -> Record:
    """The record of what is known now. A job without any finished visit that did not fail is `interrupted`."""
    task, arm = state.job.task, state.job.arm
    measured = "ok" if state.unverified is None else "unverified"
    status = state.status or (measured if state.latency_ns else "interrupted")
    record = Record(
        operator=task.operator,
        framework=arm.framework,
        mode=arm.mode,
        variant=arm.variant,
        arm=arm.name,
        device=state.device,
        dtype=task.dtype,
        matmul_precision=arm.matmul_precision,
        batch_size=task.shape.batch_size,
        seq_len=task.shape.seq_len,
        kv_len=task.shape.kv_len,
        params=without_home(to_json(dict(task.params))),  # a checkpoint's folder is one
        model=task.model,
        contenders=list(state.job.contenders),
        sweep_id=sweep.id,
        cell_id=state.job.cell.id,
        job_id=state.job.id,
        status=status,
        reason=state.reason or {"interrupted": UNFINISHED, "unverified": state.unverified}.get(status),
        warnings=list(state.warnings),
        verify_tolerance=state.job.limits.norm if state.unverified is None else None,
        verify_row_tolerance=state.job.limits.row if state.unverified is None else None,
        check_seed=state.check_seed,
        restarts=len(state.latency_ns),
        rounds=sum(map(len, state.latency_ns)),
        latency_samples_ns=state.latency_ns,
        throughput_samples_ns=state.throughput_ns,
        token_samples_ns=state.token_ns,
        conditions=to_json([_said(reading) for reading in state.conditions]),
        protocol=to_json(asdict(sweep.protocol)),
        seed=sweep.protocol.seed,
        started_at=state.started_at,
        finished_at=now(),
        paired=state.paired,
        floor_ns=state.floor_ns,
        canary_drift=state.canary_drift,
        setup=" ".join(arm.setup) or None,
        asked_settings=without_home(to_json(arm.asked)),  # a variable's value may be a path
        device_index=arm.device_index,
        requirement=arm.requirement and arm.requirement.partition("@")[0].strip(),
        gpu_id=state.gpu_id,
        engine=sweep.place.engine,
        engine_job=sweep.place.job,
        shard=sweep.place.shard,
        side_by_side=sweep.place.beside,
        machine_id=sweep.machine_id,
        machine=to_json(dict(sweep.machine)),
        mtbench_version=__version__,
    )
    _add_answers(state, record)
    for name, value in columns_of(sweep.earlier, vars(record)).items():
        setattr(record, name, value)
    _add_energy(state, record)
    if status in MEASURED:
        _summarise(state, record, sweep.protocol)
    return record


def _add_answers(state: JobState, record: Record) -> None:
    """What the worker answered. The first call is taken from the first restart, which has the coldest caches."""
    if state.worker is not None:
        ran = state.worker.description
        record.library_version, record.python_version = ran.version, state.worker.python_version
        record.device_kind, record.device_name = ran.device_kind, ran.device_name
        record.threads, record.blas = ran.threads, ran.blas
        record.library_details = without_home(to_json(ran.details))  # a server may have its model in a folder
        record.clock_tick_ns = state.worker.clock_tick_ns
    _add_errors(state, record)
    if state.prepared:
        first, last = state.prepared[0], state.prepared[-1]
        record.first_call_ns = first.first_call_ns
        record.warmup_ns = sum(each.warmup_ns for each in state.prepared)
        record.compiled_with = to_json(last.compiled_with)
        if state.unverified is None:
            record.flops, record.bytes_moved = last.flops, last.bytes_moved
        record.calls_per_block, record.throughput_calls = last.calls_per_block, last.throughput_calls
        record.calls_per_sample = last.calls_per_sample
    if state.finished:
        record.peak_bytes, record.peak_kind = state.finished[-1].peak_bytes, state.finished[-1].peak_kind
        grown = [each.growth for each in state.finished if each.growth is not None]
        record.growth_bytes = grown[0] if grown else None
        device_ns = [[each.device_ns] for each in state.finished if each.device_ns is not None]
        record.device_ns = middle(device_ns) if device_ns else None
        apart = accuracy.mean([each.divergence for each in state.finished if each.divergence is not None])
        if apart is not None:
            record.rounding_error, record.rounding_positions = apart.error, apart.positions
            record.kl_divergence_nats, record.top1_agreement = apart.kl_nats, apart.top1_agreement


def _add_errors(state: JobState, record: Record) -> None:
    """The worst errors of all answers that were checked."""
    if state.unverified is not None:
        return
    found = [each.errors for each in state.prepared] + [each.errors for each in state.finished]
    found += [] if state.failed_errors is None else [state.failed_errors]
    if found:
        worst = reduce(Errors.worst, found)
        record.verify_error, record.verify_row_error = worst.norm, worst.row
        record.verify_element_error = worst.element


def _add_energy(state: JobState, record: Record) -> None:
    """Energy per call, or why there is none."""
    if isinstance(state.energy, str):
        record.energy_kind = f"not available here: {state.energy}"
    elif state.energy is not None:
        record.energy_joule = state.energy.joule
        record.energy_joule_per_token = state.energy.joule / state.job.task.problem.tokens(state.job.task.shape)
        record.idle_watt, record.energy_kind = state.energy.idle_watt, state.energy.covers


def _said(reading: Reading) -> dict[str, Any]:
    """A reading without its unknown values."""
    return {name: value for name, value in asdict(reading).items() if value is not None}


def _summarise(state: JobState, record: Record, protocol: Protocol) -> None:
    """Adds the estimates that follow from a record's samples."""
    found = estimate(
        state.latency_ns,
        state.throughput_ns,
        confidence=protocol.confidence,
        target=protocol.target,
        floor_ns=record.floor_ns,
        tick_ns=tick_of(vars(record)),
        prior=of_row(vars(record)),
    )
    warnings = record.warnings + found.warnings
    for name, value in vars(found).items():
        setattr(record, name, value)
    record.warnings = warnings
    _add_tokens(state, record)
    if state.unverified is None:
        _hold_against_the_roofs(state, record)


def _add_tokens(state: JobState, record: Record) -> None:
    """Rates of tokens: of those that the worker counted, if it did, else of those that a call has by definition."""
    problem, shape = state.job.task.problem, state.job.task.shape
    assert record.throughput_ns is not None
    if problem.counts_tokens:
        tokens = state.counted_tokens or problem.tokens(shape)
        record.tokens, record.tokens_per_s = round(tokens), per_second(tokens, record.throughput_ns)
    if problem.gives_first_token:
        record.time_to_first_token_ns = record.latency_ns
    if state.token_ns:
        record.time_to_first_token_ns, others_ns = token_times(state.token_ns)
        if others_ns is not None:
            record.decode_tokens_per_s = per_second(shape.batch_size, others_ns)


def _hold_against_the_roofs(state: JobState, record: Record) -> None:
    """What the call achieved, and the least time that the measured roofs allow.

    By throughput, since the roofs are measured with queued calls, too: latency also includes the waiting.
    """
    flops, moved = record.flops, record.bytes_moved
    if moved is None or record.throughput_ns is None:
        return
    roofs = state.peaks.at(moved)
    record.peak_flops_per_s, record.peak_bytes_per_s = roofs.flops_per_s, roofs.bytes_per_s
    record.peak_flops_set_by, record.peak_bytes_set_by = state.roofs_set_by
    record.bytes_per_s = per_second(moved, record.throughput_ns)
    if flops is None:
        return
    record.flops_per_s = per_second(flops, record.throughput_ns)
    # A peak in the cell's dtype does not bound products in other types.
    bound = flops if state.job.task.problem.computes_in_dtype else 0.0
    found = reached(bound, moved, record.throughput_ns, roofs.flops_per_s, roofs.bytes_per_s)
    record.limit_ns, record.limit_fraction = found
    if record.limit_ns is not None and not (roofs.flops_sure if by_flops(vars(record)) else roofs.bytes_sure):
        record.warnings = [*record.warnings, ROOF_UNSURE]
