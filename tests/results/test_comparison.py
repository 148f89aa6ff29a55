"""What decides between faster, slower, equivalent and inconclusive, wherever that is shown."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from mtbench.results import comparison as verdicts
from mtbench.results.comparison import Timing
from mtbench.results.stats import compare_paired
from mtbench.results.verdicts import Comparison


def blocks(rng: random.Random, center: float, noise: float, rounds: int = 40) -> dict[tuple[int, int], float]:
    return {(number % 4, number // 4): rng.gauss(center, noise * center) for number in range(rounds)}


def comparison(verdict: str, p_value: float) -> Comparison:
    return Comparison(1.1, 1.05, 1.15, 0.95, p_value, 20, verdict, 0.01)


@pytest.mark.parametrize(("detectable", "expected"), [(0.001, 0.01), (0.02, 0.02), (0.2, 0.03), (float("inf"), 0.03)])
def test_the_difference_that_matters_rises_with_the_noise_up_to_a_limit(detectable: float, expected: float) -> None:
    assert verdicts.threshold(detectable) == expected


def test_only_rounds_that_both_have_are_compared() -> None:
    rng = random.Random(0)
    a, b = blocks(rng, 100, 0.001), blocks(rng, 110, 0.001, rounds=30)
    del b[0, 3]
    found = verdicts.compare(a, b | {(7, 7): 1e9})
    assert found is not None
    assert (found.pairs, found.verdict) == (29, "slower")
    assert found.ratio == pytest.approx(1.1, rel=1e-3)
    assert verdicts.compare(a, {(9, 9): 100.0}) is None


def test_an_interval_that_misses_1_by_accident_is_no_difference_where_the_noise_is_large() -> None:
    rng = random.Random(28)
    a, b = ({(0, r): t for r, t in enumerate(blocks(rng, 100, 0.03).values())} for _ in range(2))
    found, naive = verdicts.compare(a, b), compare_paired(list(a.values()), list(b.values()), threshold=0.01)
    assert found is not None
    assert naive.verdict in ("faster", "slower")
    assert found.verdict == "inconclusive"


def test_what_the_user_says_matters_replaces_the_rule() -> None:
    rng = random.Random(2)
    a, b = blocks(rng, 100, 0.05), blocks(rng, 100, 0.05)
    found = verdicts.compare(a, b)
    assert found is not None
    assert (found.verdict, found.threshold) == ("inconclusive", 0.03)
    found = verdicts.compare(a, b, least=0.2)
    assert found is not None
    assert (found.verdict, found.threshold) == ("equivalent", 0.2)
    found = verdicts.compare(blocks(rng, 100, 0.002), blocks(rng, 102, 0.002), least=0.05)
    assert found is not None
    assert (found.verdict, found.differs) == ("inconclusive", True)  # too little to matter, but not equal


def test_a_difference_must_survive_the_number_of_comparisons_and_nothing_else_changes() -> None:
    one = verdicts.corrected([comparison("slower", 0.03)])
    assert [(found.verdict, found.p_value) for found in one] == [("slower", 0.03)]
    two = verdicts.corrected([comparison("slower", 0.03), comparison("equivalent", 0.5), comparison("faster", 0.001)])
    assert [found.verdict for found in two] == ["inconclusive", "equivalent", "faster"]
    assert [found.p_value for found in two] == pytest.approx([0.06, 0.5, 0.003])
    assert verdicts.corrected([]) == []


def two_arms(
    rng: random.Random, ratio: float, between: float, restarts: int
) -> dict[str, dict[tuple[int, int], float]]:
    """Two arms in 20 rounds of each restart, 1 % noise, where each process has a speed of its own."""
    arms: dict[str, dict[tuple[int, int], float]] = {"a": {}, "b": {}}
    for restart in range(restarts):
        for arm, center in (("a", 100.0), ("b", 100.0 * ratio)):
            speed = center * math.exp(rng.gauss(0, between))
            arms[arm] |= {(restart, number): speed * math.exp(rng.gauss(0, 0.01)) for number in range(20)}
    return arms


@pytest.mark.parametrize(("between", "restarts"), [(0.0, 3), (0.01, 2), (0.01, 3), (0.03, 3), (0.03, 8)])
def test_equal_arms_whose_restarts_differ_are_seldom_called_different(between: float, restarts: int) -> None:
    rng = random.Random(5)
    verdicts_found = [verdicts.compare(*two_arms(rng, 1.0, between, restarts).values()) for _ in range(150)]
    different = sum(found is not None and found.verdict in ("faster", "slower") for found in verdicts_found)
    assert different <= 13  # 5 % of 150, and two standard deviations


@pytest.mark.parametrize("restarts", [2, 3, 5])
def test_a_large_difference_is_seen_whatever_the_restarts_do(restarts: int) -> None:
    rng = random.Random(6)
    found = [verdicts.compare(*two_arms(rng, 1.5, 0.01, restarts).values()) for _ in range(50)]
    assert sum(one is not None and one.verdict == "slower" for one in found) >= 45


def test_a_round_that_a_neighbour_disturbed_does_not_hide_a_difference() -> None:
    rng = random.Random(6)
    a, b = ({(r % 4, r // 4): rng.gauss(center, 0.3) for r in range(40)} for center in (100, 105))
    for disturbed in ((0, 3), (2, 7)):
        a[disturbed] *= 1.8
    found = verdicts.compare(a, b)
    assert found is not None
    assert found.verdict == "slower"
    assert 1.04 < found.low < 1.05 < found.high < 1.06


def test_of_one_restart_only_a_difference_larger_than_restarts_have_is_believed() -> None:
    rng = random.Random(7)
    for ratio, expected in ((1.08, "inconclusive"), (1.0, "inconclusive"), (1.3, "slower"), (0.7, "faster")):
        a, b = two_arms(rng, ratio, 0.0, 1).values()
        found = verdicts.compare(a, b)
        assert found is not None
        assert found.verdict == expected


def test_families_are_corrected_each_for_itself_and_descriptive_ratios_not_at_all() -> None:
    one = comparison("slower", 0.03)
    apart = one._replace(interleaved=False, verdict="descriptive", p_value=1.0)
    judged = verdicts.judged([("x", one), ("y", one), ("x", apart), ("y", one)])
    assert [found.verdict for found in judged] == ["slower", "inconclusive", "descriptive", "inconclusive"]
    assert [found.p_value for found in judged] == pytest.approx([0.03, 0.06, 1.0, 0.06])


def timing(sweep_id: str, ns: float = 100.0, **values: Any) -> Timing:
    fields = {"cell_id": "cell", "machine_id": "machine", "paired": None} | values
    return Timing(sweep_id=sweep_id, ns=ns, interval=None, blocks={(0, r): ns for r in range(8)}, **fields)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"sweep_id": "two"}, "in two sweeps"),
        ({"machine_id": "other"}, "on two machines"),
        ({"cell_id": "other"}, "in two cells"),
        ({"paired": False}, "one after the other, for want of memory"),
        ({}, None),
    ],
)
def test_why_two_were_not_interleaved_is_said(other: dict[str, Any], reason: str | None) -> None:
    found = verdicts.against(timing("one"), timing(**{"sweep_id": "one", "ns": 200.0} | other))
    assert (found.ratio, found.reason, found.interleaved) == (pytest.approx(2.0), reason, reason is None)
    assert (found.verdict == "descriptive") is (reason is not None)
    assert (found.bounds is None) is (reason is not None)  # nothing bounds either median here


def test_without_a_round_in_common_there_are_no_pairs() -> None:
    a = timing("one")
    b = replace(a, blocks={(1, number): 1.0 for number in range(8)})
    assert verdicts.against(a, b).reason == "no round in common"


def test_the_newest_two_of_one_sweep_are_compared_else_the_newest_of_each() -> None:
    a = [timing("one"), timing("two"), timing("three")]
    b = [timing("zero"), timing("one"), timing("two")]
    assert verdicts.newest_pair(a, b) == (a[1], b[2])
    assert verdicts.newest_pair(a[2:], b) == (a[2], b[2])


def test_exchanging_two_of_which_nothing_is_known_leaves_nothing_known() -> None:
    found = verdicts.against(timing("one"), timing("two", 200.0)).swapped()
    assert (found.ratio, found.low, found.bounds) == (0.5, 0.0, None)
    assert math.isinf(found.high)


def test_many_pairs_together_are_each_what_it_is_alone() -> None:
    """Of different restarts and rounds, with rounds that one side lacks, with ticks, and with nothing in common."""
    rng = random.Random(3)
    shapes = [(1, 3), (1, 12), (2, 5), (3, 8), (3, 8)]
    pairs: list[tuple[Any, Any, float | None]] = []
    for restarts, rounds in shapes * 2:
        a, b = ({(r, n): rng.lognormvariate(7, 0.1) for r in range(restarts) for n in range(rounds)} for _ in "ab")
        if rng.random() < 0.5:
            b.pop((0, 1))
        pairs.append((a, b, rng.choice([None, 40.0])))
    pairs.append(({(0, 0): 1.0}, {(0, 1): 1.0}, None))
    together = verdicts.compare_all(pairs)
    alone = [verdicts.compare(a, b, tick_ns=tick) for a, b, tick in pairs]
    assert together[-1] is None
    for one, other in zip(together, alone, strict=True):
        if one is not None and other is not None:
            assert one.ratio == pytest.approx(other.ratio)
            assert (one.low, one.high, one.p_value) == pytest.approx((other.low, other.high, other.p_value))
            assert (one.verdict, one.pairs, one.restarts) == (other.verdict, other.pairs, other.restarts)
