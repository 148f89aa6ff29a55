"""The roofs of a machine where records of several sweeps meet: the best that any of them knows, and whose it is."""

from pathlib import Path
from typing import Any

import pytest

from mtbench.report.roofline import bound
from mtbench.results import limits
from mtbench.results.record import Record, read, write
from record_builder import record, with_blocks, with_limit


def one(arm: str, moved: float, flops_per_s: float, bytes_per_s: float, by: str, **values: Any) -> Record:
    made = with_limit(with_blocks(record(arm, **values), [[2e5] * 8] * 3), 1e6, moved, flops_per_s, bytes_per_s)
    made.peak_flops_set_by = made.peak_bytes_set_by = by
    return made


def merged(folder: Path, *found: Record) -> dict[str, dict[str, Any]]:
    files = [write(each, folder / f"{number}") for number, each in enumerate(found)]
    return {row["arm"]: row for row in limits.merged(read(files)[0]).to_dicts()}


def test_the_same_call_is_as_far_from_the_limit_whoever_was_beside_it(tmp_path: Path) -> None:
    """Alone, MLX seemed at a third of the limit that it had set itself; beside torch, at a hundredth."""
    alone = one("mlx", 1e6, 3e9, 1e12, "mlx 0.32", sweep_id="alone")
    beside = one("torch", 1e6, 3e11, 1e12, "torch 2.13", sweep_id="beside")
    assert alone.limit_fraction == pytest.approx(3.33, rel=0.01)  # what MLX alone says
    found = merged(tmp_path, alone, beside)
    assert found["mlx"]["limit_fraction"] == pytest.approx(0.0333, rel=0.01)
    assert found["mlx"]["peak_flops_set_by"] == "torch 2.13"
    assert limits.set_by(found["mlx"]) == "torch 2.13"
    assert found["torch"]["limit_fraction"] == pytest.approx(beside.limit_fraction)


@pytest.mark.parametrize(
    ("busy", "idle", "unsure"),
    [(3e11, 1e11, True), (3e11, 2.9e11, False), (1e11, 3e11, False)],  # far above, confirmed by, below the sure one
)
def test_a_limit_is_as_sure_as_the_roof_that_sets_it(tmp_path: Path, busy: float, idle: float, unsure: bool) -> None:
    doubted, sure = one("torch", 1e6, busy, 1e12, "torch"), one("mlx", 1e6, idle, 1e12, "mlx")
    doubted.warnings = ["not converged, ±3 %", limits.ROOF_UNSURE]
    found = merged(tmp_path, doubted, sure)
    assert [limits.sure(found[arm]) for arm in ("torch", "mlx")] == [not unsure] * 2
    assert "not converged, ±3 %" in found["torch"]["warnings"]


def test_a_memory_roof_is_that_of_as_many_bytes_or_more(tmp_path: Path) -> None:
    small = one("mlx", 1e6, 1e15, 1e11, "mlx 0.32")
    large = one("torch", 1e9, 1e15, 2e11, "torch 2.13")
    fast = one("numpy", 1e3, 1e15, 9e11, "numpy 2.3")
    found = merged(tmp_path, small, large, fast)
    assert [found[arm]["peak_bytes_per_s"] for arm in ("numpy", "mlx", "torch")] == [9e11, 2e11, 2e11]
    assert limits.set_by(found["mlx"]) == "torch 2.13"
    assert limits.set_by(found["numpy"]) == "numpy 2.3"


def test_products_of_integers_are_not_bound_by_the_dtypes(tmp_path: Path) -> None:
    """Weights of few bits: the FLOPs would take 1 ms at bfloat16's roof, which is not theirs; their bytes take 1 us."""
    packed = one("mlx", 1e6, 1e9, 1e12, "mlx 0.32")
    packed.limit_ns = 1e6 / 1e12 * 1e9
    packed.peak_bytes_set_by = "numpy 2.3"
    found = merged(tmp_path, packed, one("torch", 1e6, 2e9, 1e11, "torch 2.13"))
    assert found["mlx"]["limit_ns"] == pytest.approx(1e3)
    assert found["mlx"]["limit_fraction"] == pytest.approx(1e3 / (packed.throughput_ns or 0))
    assert limits.set_by(found["mlx"]) == "numpy 2.3"
    assert bound(found["mlx"]) == "memory"
    assert found["torch"]["limit_ns"] == pytest.approx(5e5)
    assert limits.set_by(found["torch"]) == "torch 2.13"


@pytest.mark.parametrize("other", [{"machine_id": "other"}, {"device": "gpu"}, {"dtype": "bfloat16"}])
def test_another_machine_device_or_dtype_has_its_own_roof(tmp_path: Path, other: dict[str, Any]) -> None:
    found = merged(tmp_path, one("mlx", 1e6, 3e9, 1e12, "mlx"), one("torch", 1e6, 3e11, 1e12, "torch", **other))
    assert found["mlx"]["peak_flops_per_s"] == 3e9
