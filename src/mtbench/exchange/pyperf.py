"""pyperf's JSON, version 1.0. Out: a run is a restart of ours, its values are blocks. In: the same, unverified."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from mtbench.exchange.named import Named, named
from mtbench.exchange.published import WRONG, Figure, File, Unreadable
from mtbench.results.record import Record
from mtbench.results.samples import blocks

NAME = "pyperf"

VERSION = "1.0"

OURS = "mtbench_"
"""The beginning of the metadata that hold the parts of a benchmark's name, in files of ours."""


def recognises(file: File) -> bool:
    """pytest-benchmark's files have these two names too, but no runs."""
    try:
        found = json.loads(file.text)
    except ValueError:
        return False
    if not (isinstance(found, dict) and "version" in found and isinstance(found.get("benchmarks"), list)):
        return False
    return all(isinstance(one, dict) and "runs" in one for one in found["benchmarks"])


def records(file: File) -> list[Record]:
    """One for each benchmark. Raises Unreadable where it does not say what it should."""
    try:
        return [one.record() for one in _figures(json.loads(file.text), file.path.stem)]
    except WRONG as error:
        raise Unreadable(f"{type(error).__name__} {error}") from error


def export(records: Sequence[Record]) -> str:
    """Each job that has a latency as a benchmark: a run for each restart, a value (seconds for one call) for each block."""
    found = [_benchmark(one) for one in named(records) if one.record.latency_ns is not None]
    return json.dumps({"version": VERSION, "benchmarks": [one for one in found if one["runs"]]}, indent=1)


def _benchmark(one: Named) -> dict[str, Any]:
    runs: dict[int, list[float]] = {}
    for (restart, _), ns in sorted(blocks(one.record, "latency").items()):
        runs.setdefault(restart, []).append(ns / 1e9)
    record = one.record
    told = {
        "name": one.name,
        "unit": "second",
        f"{OURS}operator": record.operator,
        f"{OURS}params": record.params,
        f"{OURS}arm": record.arm,
        f"{OURS}framework": record.framework,
        f"{OURS}mode": record.mode,
        f"{OURS}dtype": record.dtype,
        f"{OURS}device": record.device,
        f"{OURS}model": record.model,
        f"{OURS}batch_size": record.batch_size,
        f"{OURS}seq_len": record.seq_len,
        f"{OURS}kv_len": record.kv_len,
        f"{OURS}status": record.status,
        f"{OURS}library_version": record.library_version,
        f"{OURS}version": record.mtbench_version,
        "cpu_model_name": json.loads(record.machine).get("chip"),
        "python_version": record.python_version,
    }
    date = {} if record.started_at is None else {"date": record.started_at.strftime("%Y-%m-%d %H:%M:%S.%f")}
    return {
        "metadata": {name: value for name, value in told.items() if value not in (None, "")},
        "runs": [{"metadata": date, "values": values} for values in runs.values()],
    }


def _figures(found: Mapping[str, Any], stem: str) -> Iterator[Figure]:
    common = found.get("metadata", {})
    for benchmark in found["benchmarks"]:
        told = common | benchmark.get("metadata", {})
        runs = [run for run in benchmark["runs"] if run.get("values")]
        if not runs:
            raise Unreadable(f"no value of {told.get('name', 'a benchmark')}")
        if told.get("unit", "second") != "second":
            continue
        first = told | runs[0].get("metadata", {})
        ours = {name.removeprefix(OURS): value for name, value in told.items() if name.startswith(OURS)}
        date = first.get("date")
        system = {"chip": first.get("cpu_model_name"), "os": str(first.get("platform", "")).partition("-")[0] or None}
        yield Figure(
            source=NAME,
            sweep=stem,
            operator=ours.get("operator", told["name"]),
            framework=ours.get("framework", "python"),
            mode=ours.get("mode", "eager"),
            params=json.loads(ours.get("params", "{}")),
            dtype=ours.get("dtype", "unknown"),
            batch_size=ours.get("batch_size", 1),
            seq_len=ours.get("seq_len", 1),
            kv_len=ours.get("kv_len"),
            model=ours.get("model"),
            machine=system | {"cores": {"logical": first["cpu_count"]} if "cpu_count" in first else {}},
            device=ours.get("device", "cpu"),
            restarts_ns=[[value * 1e9 for value in run["values"]] for run in runs],
            library_version=ours.get("library_version"),
            python_version=first.get("python_version"),
            at=None if date is None else datetime.fromisoformat(date),
            remarks=[f"{len(runs)} runs of {fmean(len(run['values']) for run in runs):g} values"],
        )
