"""Records as one table: CSV for programs, with times in nanoseconds, and Markdown for people."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from mtbench.exchange.named import Named, named
from mtbench.results import certainty, format
from mtbench.results.record import Record

COLUMNS = (
    "operator", "model", "params", "dtype", "batch_size", "seq_len", "kv_len", "arm", "framework", "mode", "variant", "device",
    "status", "reason", "latency_ns", "latency_low_ns", "latency_high_ns", "throughput_ns", "throughput_low_ns",
    "throughput_high_ns", "confidence", "tokens_per_s", "first_call_ns", "peak_bytes", "limit_fraction", "verify_error",
    "library_version", "device_name", "machine_id", "source", "sweep_id", "finished_at", "mtbench_version",
)  # fmt: skip
"""The record's columns in CSV, by their names there; before them stands `name`, behind them the comparison."""


def as_csv(records: Sequence[Record]) -> str:
    """Every job. `ratio` is its latency over that of the cell's baseline; what is not known is empty."""
    text = io.StringIO()
    compared = ("ratio", "ratio_low", "ratio_high", "ratio_confidence", "verdict", "doubt")
    writer = csv.DictWriter(text, ("name", *COLUMNS, "chip", *compared), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, named(records)))
    return text.getvalue().rstrip("\n")


def as_markdown(records: Sequence[Record]) -> str:
    """Every job, in GitHub's Markdown."""
    lines = ["| cell | arm | latency | throughput | ratio to the baseline | verdict |", "|---|---|---:|---:|---:|---|"]
    last = None
    for one in named(records):
        cells = ["" if one.cell == last else one.cell, one.name.removeprefix(f"{one.cell}, "), *_times(one)]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
        last = one.cell
    return "\n".join(lines)


def _row(one: Named) -> dict[str, Any]:
    record, found = one.record, one.compared
    low, high = (None, None) if found is None or found.bounds is None else found.bounds
    return {
        "name": one.name,
        **{name: getattr(record, name) for name in COLUMNS},
        "chip": json.loads(record.machine).get("chip"),
        "ratio": None if found is None else found.ratio,
        "ratio_low": low,
        "ratio_high": high,
        "ratio_confidence": None if low is None or found is None else found.confidence,
        "verdict": None if found is None else found.verdict,
        "doubt": None if found is None else certainty.why_inconclusive(found),
    }


def _times(one: Named) -> list[str]:
    record, found = one.record, one.compared
    if record.latency_ns is None:
        return [record.status, "", "", format.one_line(record.reason or "")]
    latency = format.interval(record.latency_ns, record.latency_low_ns, record.latency_high_ns, record.confidence)
    throughput = "" if record.throughput_ns is None else format.duration(record.throughput_ns)
    if found is not None:
        return [latency, throughput, format.ratio(found.ratio, *found.bounds or ()), certainty.outcome(found)]
    return [latency, throughput, "", "baseline" if record.status == "ok" else record.status]
