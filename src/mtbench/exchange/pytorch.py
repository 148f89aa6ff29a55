"""PyTorch's benchmark database, version 3, JSON: one object for each metric of a job.

The table is `clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql` of pytorch/test-infra. The action that uploads adds what is
about a commit and a workflow. `extra_info` holds text only.
"""

import json
from collections.abc import Sequence
from typing import Any

from mtbench.exchange.named import Named, named
from mtbench.results.record import Record
from mtbench.results.samples import blocks, restart_medians

NAME = "pytorch"

METRICS = ("latency", "throughput")


def export(records: Sequence[Record]) -> str:
    """Each metric of each job that has one. Values are the restarts' medians, nanoseconds for one call."""
    found = [
        _object(one, metric) for one in named(records) for metric in METRICS if _ns(one.record, metric) is not None
    ]
    return json.dumps(found, indent=1, ensure_ascii=False)


def _ns(record: Record, metric: str, bound: str = "") -> float | None:
    value: float | None = getattr(record, f"{metric}_{bound}ns")
    return value


def _object(one: Named, metric: str) -> dict[str, Any]:
    record = one.record
    median = _ns(record, metric)
    known = {
        "median_ns": median,
        "low_ns": _ns(record, metric, "low_"),
        "high_ns": _ns(record, metric, "high_"),
        "confidence": record.confidence,
        "verdict": None if one.compared is None or metric != "latency" else one.compared.verdict,
    }
    return {
        "benchmark": {
            "name": "mtbench",
            "mode": "inference",
            "dtype": record.dtype,
            "extra_info": _texts({"cell": one.cell, "job": one.name, "status": record.status, "source": record.source}),
        },
        "model": {
            "name": record.model or record.operator,
            "type": record.operator,
            "backend": record.arm,
            "origins": ["mtbench"],
            "extra_info": _texts({"params": record.params, "device": record.device, "variant": record.variant}),
        },
        "inputs": {
            "x": {
                "dtype": record.dtype,
                "extra_info": _texts(
                    {"batch_size": record.batch_size, "seq_len": record.seq_len, "kv_len": record.kv_len}
                ),
            }
        },
        "metric": {
            "name": f"{metric}_ns",
            "benchmark_values": restart_medians(blocks(record, metric)) or [median],
            "extra_info": _texts(known),
        },
        "runners": [_runner(record)],
        "dependencies": {
            record.framework: {"version": record.library_version or ""},
            "mtbench": {"version": record.mtbench_version},
        },
    }


def _runner(record: Record) -> dict[str, Any]:
    machine = json.loads(record.machine)
    cores, gpus = machine.get("cores") or {}, machine.get("gpus") or []
    gpu_memory = [gpu["memory_bytes"] for gpu in gpus if gpu.get("memory_bytes")]
    return {
        "name": machine.get("chip") or "",
        "type": record.device_kind or record.device,
        "cpu_info": machine.get("chip") or "",
        "cpu_count": cores.get("logical") or cores.get("physical") or 0,
        "avail_mem_in_gb": (machine.get("memory_bytes") or 0) // 2**30,
        "gpu_info": ", ".join(str(gpu["name"]) for gpu in gpus),
        "gpu_count": len(gpus),
        "avail_gpu_mem_in_gb": sum(gpu_memory) // 2**30,
        "extra_info": _texts({"machine_id": record.machine_id, "os": machine.get("os")}),
    }


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}
