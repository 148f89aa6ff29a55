"""The self-test's verdicts from given numbers: nothing is measured here."""

import math

import pytest

from mtbench.results.selftest import MET, MISSED, NOT_SHOWN, REPORTED
from mtbench.results.stats import Interval, compare_paired
from mtbench.results.verdicts import Comparison
from mtbench.selftest import goals
from mtbench.selftest.goals import DEDICATED, GOALS, SHARED, Goal


def comparison(ratio=1.0, half=0.001, p_value=0.5, verdict="equivalent", detectable=0.01):
    return Comparison(ratio, ratio - half, ratio + half, 0.95, p_value, 40, verdict, detectable)


@pytest.mark.parametrize(
    ("goal", "value", "low", "high", "trials", "verdict"),
    [
        (Goal(0.02), 0.01, 0.005, 0.02, 6, MET),
        (Goal(0.02), 0.03, 0.021, 0.04, 6, MISSED),
        (Goal(0.02), 0.01, 0.005, 0.021, 10**6, NOT_SHOWN),  # no number of trials stands in for the interval
        (Goal(0.02), 0.03, 0.01, 0.05, 10**6, NOT_SHOWN),
        (Goal(0.02, trials=100), 0.01, 0.0, 0.03, 99, NOT_SHOWN),
        (Goal(0.02, trials=100), 0.01, 0.0, 0.03, 100, MET),
        (Goal(0.02, trials=100), 0.021, 0.0, 0.03, 100, NOT_SHOWN),
        (Goal(0.9, at_least=True), 0.95, 0.9, 1.0, 6, MET),
        (Goal(0.9, at_least=True), 0.85, 0.8, 0.89, 6, MISSED),
        (Goal(0.9, at_least=True), 0.95, 0.85, 1.0, 10**6, NOT_SHOWN),
        (Goal(0.9, at_least=True, trials=50), 0.95, 0.85, 1.0, 50, MET),
        (Goal(0.9, at_least=True, trials=50), 0.89, 0.85, 1.0, 50, NOT_SHOWN),
        (None, 9.0, 8.0, 10.0, 100, REPORTED),
    ],
)
def test_a_verdict_follows_from_the_value_its_interval_and_the_trials(goal, value, low, high, trials, verdict):
    assert goals.judge(goal, value, low, high, trials) == verdict


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [
        # The bounds that a table of Clopper and Pearson gives, and the closed form 1 - (alpha/2)^(1/n) for none of n.
        (0, 20, 0.0, 1 - 0.025 ** (1 / 20)),
        (20, 20, 0.025 ** (1 / 20), 1.0),
        (5, 50, 0.0333, 0.2181),
        (10, 200, 0.0242, 0.0900),
    ],
)
def test_the_interval_of_a_proportion_is_the_exact_one(count, trials, low, high):
    found = goals.proportion_interval(count, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_nothing_in_twenty_is_not_sold_as_one_per_cent():
    row = goals.proportion("different as a verdict", DEDICATED, "twins", 0, 20)
    assert row.verdict == "not shown with n=20"
    assert row.status == NOT_SHOWN
    assert row.measured == "0 of 20, 0 % [0 %, 16.8 %]"
    assert row.goal == "≤ 1 %"
    assert row.numbers == {"count": 0, "n": 20, "low": 0.0, "high": pytest.approx(0.168, abs=1e-3)}


@pytest.mark.parametrize(
    ("name", "kind", "count", "trials", "status"),
    [
        ("different by the test", DEDICATED, 9, 200, MET),
        ("different by the test", SHARED, 12, 200, NOT_SHOWN),  # 6 %: chance may have done it
        ("different by the test", SHARED, 30, 200, MISSED),
        ("different as a verdict", SHARED, 0, 200, MET),
        ("different as a verdict", SHARED, 9, 200, MISSED),
        ("3 % more", DEDICATED, 100, 100, MET),
        ("3 % more", DEDICATED, 90, 100, MISSED),
        ("3 % more", SHARED, 95, 100, MET),
        ("3 % more", SHARED, 100, 100, MET),
        ("3 % more", SHARED, 10, 10, NOT_SHOWN),
        ("1 % more", SHARED, 3, 100, REPORTED),
        ("1 % more", DEDICATED, 50, 100, MISSED),
        ("same sweep twice", SHARED, 50, 100, REPORTED),
        ("same sweep twice", DEDICATED, 1, 200, MET),
        ("same sweep twice", DEDICATED, 20, 200, MISSED),
    ],
)
def test_proportions_meet_or_miss_the_goal_of_their_kind_of_machine(name, kind, count, trials, status):
    assert goals.proportion(name, kind, "", count, trials).status == status


def test_an_error_is_judged_whichever_way_it_points():
    for sign in (1, -1):
        inside = Interval(1 + sign * 0.001, 1 + sign * 0.001 - 0.0005, 1 + sign * 0.001 + 0.0005, 0.95)
        outside = Interval(1 + sign * 0.01, 1 + sign * 0.01 - 0.001, 1 + sign * 0.01 + 0.001, 0.95)
        assert goals.deviation("busy-wait of 1 ms", DEDICATED, "", inside, 20).verdict == MET
        assert goals.deviation("busy-wait of 1 ms", SHARED, "", outside, 20).verdict == MISSED
        assert goals.deviation("busy-wait of 0.1 ms", SHARED, "", outside, 20).verdict == REPORTED
    row = goals.deviation("busy-wait of 1 ms", SHARED, "", Interval(1.001, 0.999, 1.0062, 0.95), 20)
    assert row.verdict == "not shown with n=20"
    assert row.measured == "+0.10 % [-0.10 %, +0.62 %]"


def test_timers_agree_within_the_goal_or_two_microseconds():
    assert goals.agreement("torch's Timer", DEDICATED, "", comparison(1.01)).verdict == MET
    assert goals.agreement("torch's Timer", DEDICATED, "", comparison(1.03)).verdict == MISSED
    assert goals.agreement("torch's Timer", SHARED, "", comparison(1.03)).verdict == MET
    assert goals.agreement("Triton's do_bench", DEDICATED, "", comparison(1.08)).verdict == MISSED
    room = goals.DO_BENCH_NS / 20_000  # two of twenty microseconds
    row = goals.agreement("Triton's do_bench", DEDICATED, "", comparison(1.08), room=room)
    assert (row.verdict, row.goal) == (MET, "± 10 %")
    longer = goals.DO_BENCH_NS / 1_000_000
    assert goals.agreement("Triton's do_bench", DEDICATED, "", comparison(1.02), room=longer).goal == "± 3 %"


def test_a_short_sweep_can_meet_a_cost_per_job_but_not_miss_it():
    assert goals.amount("controller", SHARED, "", [0.2], 10, "s").verdict == MET
    assert goals.amount("controller", SHARED, "", [0.3], 10, "s").verdict == "not shown with n=10"
    row = goals.amount("controller", SHARED, "", [0.3], 100, "s")
    assert (row.verdict, row.goal, row.measured) == (MISSED, "≤ 0.25 s", "0.3 s")
    assert goals.amount("outside", DEDICATED, "", [0.14], 16).measured == "14 %"


def test_a_cost_of_several_sweeps_has_an_interval_by_which_it_is_judged():
    row = goals.amount("outside", DEDICATED, "", [0.13, 0.14, 0.132], 4)  # Student's with two degrees of freedom
    assert (row.verdict, row.measured) == (MET, "13.4 % [12.1 %, 14.7 %]")
    assert goals.amount("outside", DEDICATED, "", [0.13, 0.18, 0.14], 4).verdict == "not shown with n=4"
    assert goals.amount("outside", DEDICATED, "", [0.21, 0.22, 0.215], 16).status == MISSED
    assert goals.amount("checks", SHARED, "", [0.01, 0.03], 4).measured == "2 % [0 %, 14.7 %]"


def test_what_is_called_different_and_what_is_found_is_counted_as_the_goals_say():
    found = [
        comparison(1.02, verdict="slower"),
        comparison(0.98, verdict="faster"),
        comparison(1.005, half=0.004, verdict="inconclusive"),
        comparison(1.005, half=0.006, p_value=0.01, verdict="inconclusive"),  # the rounds see it, the restarts do not
        comparison(1.0),
    ]
    assert goals.different_by_test(found) == 3
    assert goals.different_as_verdict(found) == 2
    assert goals.detected(found) == 2  # faster is not what was injected


def test_the_smallest_difference_is_the_one_of_the_comparisons():
    found = [comparison(detectable=effect) for effect in (0.002, 0.05, 0.004)]
    assert goals.smallest([comparison(half=0.02, detectable=0.004)], 40).measured == "2 %, at worst 2 %"
    row = goals.smallest(found, 40)
    assert row.measured == "0.4 %, at worst 5 %"
    assert row.numbers == {"median": 0.004, "largest": 0.05, "n": 3}
    none = compare_paired([1.0], [1.1])
    assert math.isinf(goals.smallest([none], 1).numbers["largest"])


def test_every_kind_of_machine_has_every_goal():
    assert all(set(by_kind) == {DEDICATED, SHARED} for by_kind in GOALS.values())
