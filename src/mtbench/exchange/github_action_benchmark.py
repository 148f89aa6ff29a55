"""github-action-benchmark's `customSmallerIsBetter`, JSON: latency in nanoseconds, its interval and verdict as text."""

import json
from collections.abc import Sequence
from typing import Any

from mtbench.exchange.named import Named, named
from mtbench.results import certainty, format
from mtbench.results.record import Record

NAME = "github-action-benchmark"


def export(records: Sequence[Record]) -> str:
    """Each job that has a latency as a result."""
    found = [_result(one) for one in named(records) if one.record.latency_ns is not None]
    return json.dumps(found, indent=1, ensure_ascii=False)


def _result(one: Named) -> dict[str, Any]:
    record = one.record
    told = [f"{record.framework} {record.library_version or ''}".strip(), f"{record.restarts} restarts"]
    if one.compared is not None:
        ratio = format.ratio(one.compared.ratio, *one.compared.bounds or ())
        told.append(f"{ratio} of the baseline: {certainty.outcome(one.compared)}")
    found = {"name": one.name, "unit": "ns", "value": record.latency_ns, "extra": "\n".join(told)}
    if record.latency_low_ns is None or record.latency_high_ns is None or not record.confidence:
        return found
    bounds = f"{record.latency_low_ns:.0f} to {record.latency_high_ns:.0f}"
    return found | {"range": f"{bounds} at {format.percent(record.confidence, 3)}"}
