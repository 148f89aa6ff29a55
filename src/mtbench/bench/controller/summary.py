"""What a job's samples come to: the times, rates and limits of its record."""

from typing import TYPE_CHECKING

from mtbench.plan.protocol import Protocol
from mtbench.results.estimates import estimate
from mtbench.results.limits import ROOF_UNSURE, by_flops, per_second, reached
from mtbench.results.record import Record
from mtbench.results.samples import tick_of, token_times

if TYPE_CHECKING:
    from mtbench.bench.controller.job_state import JobState


def summarise(state: "JobState", record: Record, protocol: Protocol) -> None:
    """Adds to a record what its samples come to."""
    found = estimate(
        state.latency_ns,
        state.throughput_ns,
        confidence=protocol.confidence,
        target=protocol.target,
        floor_ns=record.floor_ns,
        tick_ns=tick_of(vars(record)),
    )
    warnings = record.warnings + found.warnings
    for name, value in vars(found).items():
        setattr(record, name, value)
    record.warnings = warnings
    _add_tokens(state, record)
    if state.unverified is None:
        _hold_against_the_roofs(state, record)


def _add_tokens(state: "JobState", record: Record) -> None:
    """Rates of tokens: of those that came, where the worker counted them, else of those that a call has."""
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


def _hold_against_the_roofs(state: "JobState", record: Record) -> None:
    """What the call achieved, and the least time that the measured roofs allow.

    By throughput, since the roofs are measured with queued calls too: latency also holds the waiting.
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
    # No peak of the dtype is a bound of other products.
    bound = flops if state.job.task.problem.computes_in_dtype else 0.0
    found = reached(bound, moved, record.throughput_ns, roofs.flops_per_s, roofs.bytes_per_s)
    record.limit_ns, record.limit_fraction = found
    if record.limit_ns is not None and not (roofs.flops_sure if by_flops(vars(record)) else roofs.bytes_sure):
        record.warnings = [*record.warnings, ROOF_UNSURE]
