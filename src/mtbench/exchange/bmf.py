"""Bencher Metric Format, JSON (https://bencher.dev/docs/reference/bencher-metric-format): values with their bounds.

Its own measures are latency, nanoseconds, and throughput, calls per second. Memory is a measure of ours.
"""

import json
from collections.abc import Sequence

from mtbench.exchange.named import named
from mtbench.results.limits import per_second
from mtbench.results.record import Record

NAME = "bmf"

Metric = dict[str, float]


def export(records: Sequence[Record]) -> str:
    """Each job that has a latency as a benchmark."""
    found = {one.name: _measures(one.record) for one in named(records) if one.record.latency_ns is not None}
    return json.dumps(found, indent=1, ensure_ascii=False)


def _measures(record: Record) -> dict[str, Metric]:
    found = {"latency": _metric(record.latency_ns, record.latency_low_ns, record.latency_high_ns, record.confidence)}
    if record.throughput_ns is not None:
        low, high = record.throughput_low_ns, record.throughput_high_ns
        slowest, fastest = (None, None) if low is None or high is None else (per_second(1, high), per_second(1, low))
        found["throughput"] = _metric(per_second(1, record.throughput_ns), slowest, fastest, record.confidence)
    if record.peak_bytes is not None:
        found["peak-memory"] = {"value": record.peak_bytes}
    return found


def _metric(value: float | None, low: float | None, high: float | None, confidence: float | None) -> Metric:
    """Bounds at a confidence of 0 bound nothing."""
    assert value is not None
    if low is None or high is None or not confidence:
        return {"value": value}
    return {"value": value, "lower_value": low, "upper_value": high}
