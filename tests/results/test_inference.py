"""What restarts add to an interval and a verdict: promises about intervals and tables, held to simulated measurements.

The simulations have fixed seeds, and are small; `mtbench.selftest.simulation` has the same ones at length.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mtbench.results import comparison, inference
from mtbench.results.comparison import Blocks, compare, corrected
from mtbench.results.estimates import interval
from mtbench.results.inference import on_ticks, over_restarts, time_interval, variance_between
from mtbench.results.prior import Prior


def at_most(successes: int, trials: int, rate: float) -> bool:
    """Whether so many successes are compatible with a true rate of at most this (one in a thousand is not)."""
    return bool(scipy_stats.binom.sf(successes - 1, trials, rate) > 1e-3)


def at_least(successes: int, trials: int, rate: float) -> bool:
    return bool(scipy_stats.binom.cdf(successes, trials, rate) > 1e-3)


def arm(rng: np.random.Generator, between: float, restarts: int, center: float = 100.0, rounds: int = 8) -> Blocks:
    """Blocks with a deviation of 1 % around the speed of their restart's process."""
    speeds = center * np.exp(rng.normal(0, between, restarts))
    return {
        (restart, number): float(speeds[restart] * math.exp(rng.normal(0, 0.01)))
        for restart in range(restarts)
        for number in range(rounds)
    }


@pytest.mark.parametrize(("between", "restarts"), [(0.01, 2), (0.01, 3), (0.05, 3), (0.03, 5)])
def test_a_table_of_equal_pairs_seldom_holds_a_false_verdict(between: float, restarts: int) -> None:
    """By the rounds alone, 35 to 70 % of these tables of 20 pairs did."""
    rng, tables, wrong = np.random.default_rng(1), 60, 0
    for _ in range(tables):
        found = [compare(arm(rng, between, restarts), arm(rng, between, restarts)) for _ in range(20)]
        judged = corrected([one for one in found if one is not None])
        wrong += any(one.verdict in ("faster", "slower") for one in judged)
    assert at_most(wrong, tables, 0.05)


@pytest.mark.parametrize(("between", "restarts"), [(0.0, 2), (0.05, 2), (0.0, 3), (0.03, 3), (0.05, 4), (0.03, 10)])
def test_an_interval_holds_the_truth_as_often_as_it_says(between: float, restarts: int) -> None:
    """Of the rounds relative to their own restart's median, it held it in 13 to 27 % of all cases below five restarts."""
    rng, trials, covered = np.random.default_rng(2), 300, 0
    for _ in range(trials):
        blocks = arm(rng, between, restarts)
        samples = [[[blocks[restart, number]] for number in range(8)] for restart in range(restarts)]
        found = interval(samples, 0.95)
        assert (found.confidence, found.within_run) == (0.95, False)
        covered += found.low <= 100 <= found.high
    assert at_least(covered, trials, 0.95)


def test_a_single_restart_says_that_it_speaks_of_itself_alone() -> None:
    samples = [[[100.0 + number] for number in range(8)]]
    found = interval(samples, 0.95)
    assert found.within_run
    assert (found.low, found.high) == pytest.approx((100, 107))
    assert interval(samples, 0.95, prior=Prior(0.05**2, 6)) == found  # a prior says too little of one alone
    two = interval(samples * 2, 0.95, prior=Prior(0.05**2, 6))
    assert not two.within_run
    assert two.low < 100
    assert two.high > 107


def test_one_block_in_each_restart_has_an_interval_of_some_width() -> None:
    """Blocks of 1.19 and 1.27 s were 1.23 s [1.23, 1.23]."""
    found = interval([[[1.19]], [[1.27]]], 0.95)
    assert found.low < 1.19 < found.estimate < 1.27 < found.high
    assert found.confidence == 0.95


def test_restarts_decide_where_rounds_are_too_few() -> None:
    """Five restarts of one round, B exactly twice A; two of one round, B 45 times faster."""
    five = [{(restart, 0): center + restart / 10 for restart in range(5)} for center in (100, 200)]
    found = compare(*five)
    assert found is not None
    assert (found.verdict, found.restarts, found.spread_assumed) == ("slower", 5, False)
    two = [{(0, 0): center, (1, 0): 1.01 * center} for center in (100.0, 2.2)]
    found = compare(*two)
    assert found is not None
    assert (found.verdict, found.restarts, found.spread_assumed) == ("faster", 2, True)
    assert corrected([found] * 20)[0].verdict == "faster"


def test_restarts_count_alike_however_many_rounds_they_have() -> None:
    """A restart of 40 rounds in which B is 10 % slower, beside four of one round in which it is not."""
    a = {(0, number): 100.0 for number in range(40)} | {(restart, 0): 100.0 + restart for restart in range(1, 5)}
    b = {r: ns * (1.1 if r[0] == 0 else 1.0001) for r, ns in a.items()}
    found = compare(a, b)
    assert found is not None
    assert found.ratio == pytest.approx(1.0001)
    samples = [[[ns] for (restart, _), ns in b.items() if restart == wanted] for wanted in range(5)]
    assert interval(samples, 0.95).estimate == pytest.approx(103 * 1.0001)


def test_equivalent_is_never_said_of_an_interval_without_1_and_the_threshold_stands_beside_it() -> None:
    """True ratio 1.007, with bursts: of 400 such comparisons 257 were equivalent without 1."""
    rng, words = np.random.default_rng(3), []
    for _ in range(150):
        a, b = (
            {r: ns * (1.2 if rng.random() < 0.08 else 1) for r, ns in arm(rng, 0.0, 3, center).items()}
            for center in (100.0, 100.7)
        )
        found = compare(a, b)
        assert found is not None
        assert found.threshold == comparison.threshold(found.smallest_detectable)
        if found.verdict == "equivalent":
            assert 1 / (1 + found.threshold) <= found.low <= 1 <= found.high <= 1 + found.threshold
        words.append((found.verdict, found.differs))
    assert ("inconclusive", True) in words


def test_bounds_are_those_of_student_over_the_medians_of_restarts() -> None:
    rng = np.random.default_rng(4)
    groups = rng.normal(0.05, 0.03, (6, 1)) + rng.normal(0, 0.003, (6, 9))
    found = over_restarts(groups.tolist(), arms=2, confidence=0.95)
    medians = np.median(groups, axis=1)
    known = scipy_stats.ttest_1samp(medians, 0.0)
    assert (float(found.low), float(found.high)) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert float(found.p_value) == pytest.approx(known.pvalue)
    assert float(found.estimate) == pytest.approx(np.median(medians))
    assert variance_between(groups.tolist()) == (pytest.approx(np.var(medians, ddof=1)), 5)
    assert variance_between([[0.1, 0.2]]) is None


@pytest.mark.parametrize("arms", [1, 2])
def test_below_three_restarts_a_deviation_of_5_per_cent_is_assumed_for_each_process(arms: int) -> None:
    alone = over_restarts([[0.0]], arms=arms, confidence=0.95)
    assert float(alone.high) == pytest.approx(scipy_stats.t.ppf(0.975, 3) * 0.05 * math.sqrt(arms))
    two = over_restarts([[-0.1], [0.1]], arms=arms, confidence=0.95)
    variance = (3 * 0.05**2 * arms + 0.02) / 4
    assert float(two.high) == pytest.approx(scipy_stats.t.ppf(0.975, 4) * math.sqrt(variance / 2))
    assert float(two.low) == -float(two.high)


def test_restarts_that_agree_by_accident_are_no_better_known_than_their_blocks() -> None:
    groups = [[-0.02, -0.01, 0.0, 0.01, 0.02]] * 4
    found = over_restarts(groups, arms=2, confidence=0.95)
    assert (float(found.low), float(found.high)) == pytest.approx((-0.01, 0.01))


def test_a_disturbed_restart_does_not_move_the_estimate() -> None:
    found = time_interval([[100.0] * 8, [101.0] * 8, [300.0] * 8], 0.95)
    assert found.estimate == pytest.approx(101)
    assert found.high > 300


def test_a_prior_shortens_the_interval_and_makes_nothing_significant() -> None:
    """Log ratios of 1, 3 and 5 %: by themselves p = 12 %, and with what the prior says they differ by 3 ± 1.4 %."""
    a = {(restart, number): 100.0 for restart in range(3) for number in range(8)}
    b = {(restart, number): ns * math.exp(0.01 + 0.02 * restart) for (restart, number), ns in a.items()}
    without = compare(a, b)
    narrow = compare(a, b, prior=Prior(0.002**2, 6))
    assert without is not None
    assert narrow is not None
    assert not without.differs
    assert (narrow.low, narrow.high) == pytest.approx((math.exp(0.0165), math.exp(0.0435)), abs=1e-3)
    assert narrow.p_value == without.p_value == pytest.approx(0.12, abs=0.01)
    assert narrow.verdict == "inconclusive"


def test_whole_arrays_of_experiments_give_what_each_gives_alone() -> None:
    """What the simulations run is what judges a measurement."""
    rng = np.random.default_rng(6)
    for restarts in (1, 2, 5):
        values = rng.normal(0, 0.02, (7, restarts, 8))
        medians = np.median(values, axis=-1)
        within = inference.within((values - medians[..., None]).reshape(7, -1), restarts, 0.95)
        together = inference.around(medians, *within, arms=2, confidence=0.95)
        for number in range(7):
            alone = over_restarts(values[number].tolist(), arms=2, confidence=0.95)
            for name in ("estimate", "low", "high", "p_value"):
                assert float(getattr(alone, name)) == pytest.approx(getattr(together, name)[number])


class TestTicks:
    """Calls of 562 and 564.5 ns on a clock that ticks every 41.67 ns: 13.49 and 13.55 ticks."""

    TICK = 41.67

    def calls(self, rng: np.random.Generator, ns: float, rounds: int) -> list[list[float]]:
        begun = rng.random((rounds, 200))
        return (np.floor(begun + ns / self.TICK) - np.floor(begun)).tolist()

    def test_medians_of_single_calls_are_not_taken_for_better_than_half_a_tick(self) -> None:
        a = {(restart, number): 13 * self.TICK for restart in range(5) for number in range(8)}
        b = dict.fromkeys(a, 14 * self.TICK)
        naive, found = compare(a, b), compare(a, b, tick_ns=self.TICK)
        assert naive is not None
        assert found is not None
        assert (naive.verdict, round(naive.low, 3)) == ("slower", 1.077)
        assert (found.verdict, found.p_value) == ("inconclusive", 1.0)
        assert (found.low, found.high) == pytest.approx((13.5 / 13.5, 14.5 / 12.5))

    def test_no_interval_is_narrower_than_half_a_tick_to_either_side(self) -> None:
        rng = np.random.default_rng(7)
        samples = [[[n * self.TICK for n in block] for block in self.calls(rng, 556.0, 8)] for _ in range(5)]
        naive, found = interval(samples, 0.95), interval(samples, 0.95, tick_ns=self.TICK)
        assert naive.low == pytest.approx(naive.high) == pytest.approx(13 * self.TICK)
        assert found.low <= found.estimate - self.TICK / 2
        assert found.high >= found.estimate + self.TICK / 2
        assert found.estimate == pytest.approx(556, abs=0.02 * self.TICK)

    def test_a_tick_longer_than_the_call_leaves_the_bounds_open(self) -> None:
        low, high = on_ticks(0.0, 0.0, 100.0, 30.0)
        assert math.exp(low) < 2e-3
        assert math.exp(high) > 2


@pytest.mark.parametrize("restarts", [[], [[]], [[1.0], []], [[0.0, 1.0]], [[math.nan]]])
def test_what_are_no_times_are_refused(restarts: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"restart|times|value"):
        time_interval(restarts, 0.95)
