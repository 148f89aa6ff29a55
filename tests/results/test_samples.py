"""Block statistics: the same from a record's lists as from a frame of many records, and what follows from them."""

import random
from pathlib import Path

import pytest

from mtbench.results import samples
from mtbench.results.estimates import estimate
from mtbench.results.record import read, write
from record_builder import measured, record, with_samples


def test_lists_and_frames_give_the_same_blocks(tmp_path: Path) -> None:
    rng = random.Random(0)
    ragged = with_samples(record("mlx"), [[[100, 90, 900], [7]], [], [[200, 210]]], [[1.5, 2.5], [], [3.5]])
    records = [measured("torch", rng), record("numpy", status="crashed"), ragged]
    files = [write(one, tmp_path / f"{number}") for number, one in enumerate(records)]
    frame, _ = read(files)
    for metric in ("latency", "throughput"):
        found = samples.by_row(samples.table(frame, metric))
        assert [dict(found.get(row, {})) for row in range(3)] == [dict(samples.blocks(one, metric)) for one in records]
    assert samples.blocks(ragged, "latency") == {(0, 0): 100, (0, 1): 7, (2, 0): 205}
    assert samples.blocks(ragged, "device") == {}


def test_restarts_are_summed_up_by_the_median_of_their_blocks() -> None:
    blocks = {(1, 0): 30.0, (0, 0): 10.0, (0, 1): 12.0, (0, 2): 90.0, (1, 1): 10.0}
    assert samples.restart_medians(blocks) == [12.0, 20.0]
    assert samples.spread([12.0, 20.0]) == pytest.approx(0.5)


def test_an_arm_is_estimated_from_its_samples() -> None:
    """Blocks of 100 and 102 ns by turns, in two restarts."""
    latency = [[[100 + 2 * (number % 2)] * 3 for number in range(10)] for _ in range(2)]
    found = estimate(latency, [[50.0 + number % 2 for number in range(10)]] * 2, target=0.1, floor_ns=40.0)
    assert (found.latency_ns, found.latency_low_ns, found.latency_high_ns) == pytest.approx((101, 92.7, 110), rel=2e-3)
    assert found.throughput_ns == pytest.approx(50.5, rel=1e-4)
    assert (found.restart_spread, found.converged, found.outliers, found.latency_p99_ns) == (0.0, True, 0, None)
    assert found.warnings == ["overhead_bound: the cheapest call of this library takes 40 % of this time"]
    assert not estimate(latency, [[50.0] * 10] * 2, target=0.001).converged


def test_too_few_blocks_and_restarts_that_disagree_are_warned_of() -> None:
    found = estimate([[[100], [100]], [[200], [200]]], [[1.0, 1.0], [1.0, 1.0]])
    assert found.warnings == [
        "restarts disagree: their medians lie 67 % apart, more than is assumed of two",
        "not converged, ±54 %",
    ]
    for blocks, told in ((4, "4 blocks are"), (1, "1 block is")):
        found = estimate([[[100]] * blocks], [[1.0] * blocks])
        assert found.warnings == [f"not converged: {told} too few for an interval at 95 %"]
