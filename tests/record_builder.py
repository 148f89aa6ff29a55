"""Records of sweeps that never ran: the one builder for all tests.

`record` gives the columns, `with_samples` and `with_blocks` what follows from samples, by the product's own functions,
`measured` and `write_grid` samples by a simple law and a fixed seed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mtbench.plain import to_json
from mtbench.results.axes import CONTENDERS
from mtbench.results.cells import contended
from mtbench.results.estimates import estimate, interval
from mtbench.results.limits import per_second, reached
from mtbench.results.prior import of_row
from mtbench.results.record import Record, write

MACHINE = {
    "chip": "Apple M3 Pro",
    "model": "Mac15,6",
    "cores": {"physical": 12, "logical": 12, "performance": 6, "efficiency": 6},
    "memory_bytes": 38654705664,
    "gpus": [{"name": "Apple M3 Pro", "cores": 18}],
    "os": "macOS",
    "os_version": "15.5",
    "virtualised": False,
    "not_read": [],
}
ARMS = {
    "mlx": ("mlx", "eager", 1.0),
    "mlx_compiled": ("mlx", "compiled", 0.9),
    "numpy": ("numpy", "eager", 5.0),
    "torch": ("torch", "eager", 1.4),
    "torch_compiled": ("torch", "compiled", 1.397),
}
VERSIONS = {"mlx": "0.31.2", "numpy": "2.3.1", "torch": "2.13.0"}
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Grid:
    """What a sweep covers. `params` holds the parameter sets of every operator."""

    operators: Sequence[str] = ("mha", "softmax")
    arms: Sequence[str] = tuple(ARMS)
    dtypes: Sequence[str] = ("float32", "bfloat16")
    batch_sizes: Sequence[int] = (1, 8)
    seq_lens: Sequence[int] = (64, 128, 256)
    params: Sequence[dict[str, Any]] = ({"embed_dim": 768},)


def record(arm: str = "torch", /, **values: Any) -> Record:
    """A record that is ok, without times; whatever is named replaces the default.

    The cell is the fingerprint of what is held equal, as a plan would have it.
    """
    framework, mode, _ = ARMS.get(arm) or (arm.split("-")[0], "eager", 1.0)
    defaults: dict[str, Any] = {
        "operator": "softmax",
        "framework": framework,
        "mode": mode,
        "variant": "portable" if framework == "numpy" else "native",
        "arm": arm,
        "device": "cpu",
        "dtype": "float32",
        "matmul_precision": "highest",
        "batch_size": 1,
        "seq_len": 64,
        "kv_len": None,
        "params": to_json({"embed_dim": 768}),
        "sweep_id": "2026-03-01_12-00-00",
        "status": "ok",
        "contenders": list(CONTENDERS),
        "verify_error": 3.1e-7,
        "verify_tolerance": 1e-5,
        "library_version": VERSIONS.get(framework, "1.0"),
        "device_kind": "cpu",
        "device_name": "cpu",
        "threads": 12,
        "blas": "Accelerate",
        "library_details": to_json({"float32_matmul_precision": "highest"}) if framework == "torch" else "{}",
        "machine_id": "5f0c1d2e3a",
        "machine": to_json(MACHINE),
        "mtbench_version": "0.1.0",
        "started_at": START,
        "finished_at": START + timedelta(minutes=2),
        "peak_kind": "peak resident size of the worker process",
    }
    chosen = defaults | values
    cell = {name: chosen[name] for name in ("operator", "params", "dtype", "batch_size", "seq_len", "kv_len")}
    axes = contended(chosen)
    cell = {name: value for name, value in cell.items() if name not in axes}
    if any(axis == "operator" or axis.startswith("operator.params.") for axis in axes):
        del cell["params"]  # a test of these has one parameter set
    chosen.setdefault("cell_id", to_json(cell))
    chosen.setdefault("job_id", to_json(cell | {"arm": chosen["arm"]}))
    return Record(**chosen)


def with_samples(found: Record, latency: list[list[list[int]]], throughput: list[list[float]]) -> Record:
    """The record with these samples and the results that follow from them."""
    found.latency_samples_ns, found.throughput_samples_ns = latency, throughput
    found.rounds, found.restarts = sum(map(len, latency)), len(latency)
    found.first_call_ns, found.floor_ns, found.peak_bytes = 30 * latency[0][0][0], 2100.0, 123456789
    if not throughput:  # a job whose throughput is of no interest to a test
        bounds = interval(latency, 0.95, prior=of_row(vars(found)))
        found.latency_ns, found.latency_low_ns, found.latency_high_ns = bounds.estimate, bounds.low, bounds.high
        found.confidence = bounds.confidence
    else:
        warnings = found.warnings
        for name, value in vars(estimate(latency, throughput, prior=of_row(vars(found)))).items():
            setattr(found, name, value)
        found.warnings = warnings
    return with_limit(found, 1e9, 1e7, 4e14, 2e12)


def with_blocks(found: Record, restarts: Sequence[Sequence[float]]) -> Record:
    """The record with latency blocks of these medians, and throughput blocks of half as much."""
    latency = [[[round(ns) - 1, round(ns), round(ns) + 1] for ns in rounds] for rounds in restarts]
    return with_samples(found, latency, [[ns / 2 for ns in rounds] for rounds in restarts])


def with_limit(found: Record, flops: float, moved: float, peak_flops: float | None, peak_bytes: float | None) -> Record:
    """The record with this work, held against these peaks as a sweep would."""
    found.flops, found.bytes_moved = flops, moved
    if found.throughput_ns is None:
        return found
    found.flops_per_s, found.bytes_per_s = (per_second(work, found.throughput_ns) for work in (flops, moved))
    found.peak_flops_per_s, found.peak_bytes_per_s = peak_flops, peak_bytes
    found.limit_ns, found.limit_fraction = reached(flops, moved, found.throughput_ns, peak_flops, peak_bytes)
    return found


def measured(
    arm: str, rng: random.Random, /, restarts: int = 3, rounds: int = 8, calls: int = 5, **values: Any
) -> Record:
    """A record whose times follow from its arm and shape, with noise of one per cent."""
    found = record(arm, **values)
    size = found.batch_size * found.seq_len
    center = ARMS[arm][2] * (9_000 + 300 * size * (1 if found.dtype == "float32" else 0.6))
    center *= 1 + len(found.operator) / 10
    if arm.startswith("torch"):
        center *= 1.6 * (size + 400) / (size + 1600)  # torch gains on large shapes

    def block() -> list[int]:
        block_center = rng.gauss(center, 0.01 * center)
        return [int(rng.gauss(block_center, 0.005 * center)) for _ in range(calls)]

    latency = [[block() for _ in range(rounds)] for _ in range(restarts)]
    throughput = [[rng.gauss(center, 0.01 * center) * 0.7 for _ in range(rounds)] for _ in range(restarts)]
    return with_samples(found, latency, throughput)


def write_grid(folder: Path, grid: Grid, **values: Any) -> list[Record]:
    """Writes a sweep in which every arm was measured in every cell."""
    rng = random.Random(0)
    records = [
        measured(
            arm,
            rng,
            **{
                "operator": operator,
                "dtype": dtype,
                "batch_size": batch_size,
                "seq_len": seq_len,
                "params": to_json(params),
            }
            | values,
        )
        for operator in grid.operators
        for params in grid.params
        for dtype in grid.dtypes
        for batch_size in grid.batch_sizes
        for seq_len in grid.seq_lens
        for arm in grid.arms
    ]
    for number, one in enumerate(records):
        write(one, folder / one.operator / one.arm / one.dtype / f"b{one.batch_size}_s{one.seq_len}-{number:06x}")
    return records
