"""Order and stopping."""

import pytest

from mtbench.bench.controller.rounds import round_order, settled
from mtbench.errors import ConfigError
from mtbench.plan.protocol import Protocol


def test_the_order_is_random_fair_and_reproducible():
    arms = ["a", "b", "c"]
    orders = [tuple(round_order(arms, 0, "cell", 0, number)) for number in range(600)]
    assert orders == [tuple(round_order(arms, 0, "cell", 0, number)) for number in range(600)]
    assert len(set(orders)) == 6
    for order in set(orders):
        assert 60 < orders.count(order) < 150  # 100 expected, ±5 standard deviations
    assert orders != [tuple(round_order(arms, 0, "cell", 1, number)) for number in range(600)]
    assert orders != [tuple(round_order(arms, 1, "cell", 0, number)) for number in range(600)]


def test_settled_only_when_every_arm_is_within_the_target():
    protocol = Protocol(target=0.01, looks=[10, 20])
    steady = [100.0 + 0.01 * number for number in range(10)]
    noisy = [100.0 + 3.0 * number for number in range(10)]
    assert settled({"a": steady}, protocol)
    assert not settled({"a": steady, "b": noisy}, protocol)


def test_too_few_blocks_never_settle():
    assert not settled({"a": [100.0] * 3}, Protocol())


def test_looks_share_the_error_they_may_make():
    assert Protocol(confidence=0.95, looks=[10, 20, 40, 80]).look_confidence == pytest.approx(0.9875)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("restarts", 0),
        ("looks", []),
        ("looks", [20, 10]),
        ("looks", [0, 10]),
        ("target", 0.0),
        ("confidence", 1.0),
        ("block_ms", -1),
        ("warmup_s", -0.1),
        ("peaks", "never"),
        ("stop_when_hot", "warm"),
    ],
)
def test_impossible_settings_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=f"protocol.{setting}"):
        Protocol(**{setting: value})
