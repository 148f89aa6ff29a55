"""Intervals and comparisons, held to hand-computed examples, to SciPy, and to their promises on synthetic series.

Simulations have fixed seeds. A rate is compared with its promise by the binomial distribution of the simulation itself,
so that a change of seed would pass as well.
"""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mtbench.results import signed_rank, stats
from mtbench.results.stats import (
    Interval,
    compare_paired,
    descriptive_ratio,
    drift,
    holm,
    median_interval,
    outliers,
    percentile,
    relative_half_width,
    smallest_detectable_effect,
    verdict,
)


def at_most(successes: int, trials: int, rate: float) -> bool:
    """Whether so many successes are compatible with a true rate of at most this (one in a thousand is not)."""
    return scipy_stats.binom.sf(successes - 1, trials, rate) > 1e-3


def at_least(successes: int, trials: int, rate: float) -> bool:
    return scipy_stats.binom.cdf(successes, trials, rate) > 1e-3


def autocorrelated(rng: np.random.Generator, n: int, sd: float, correlation: float) -> np.ndarray:
    """A stationary AR(1) series."""
    series = np.empty(n)
    series[0] = rng.normal(scale=sd)
    for index in range(1, n):
        series[index] = correlation * series[index - 1] + rng.normal(scale=sd * math.sqrt(1 - correlation**2))
    return series


class TestMedianInterval:
    def test_it_lies_between_values_of_the_sample(self):
        # n = 10: P(B <= 1) = 11/1024, so ranks 2 and 9 hold 1 - 22/1024; ranks 3 and 8 only 1 - 112/1024.
        interval = median_interval([7, 1, 10, 3, 9, 2, 8, 4, 6, 5], 0.95)
        assert interval == Interval(5.5, 2, 9, 1 - 22 / 1024)

    @pytest.mark.parametrize("n", [6, 10, 20, 40, 80, 101])
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9875])
    def test_it_is_the_narrowest_symmetric_pair_of_ranks(self, n, confidence):
        interval = median_interval(range(1, n + 1), confidence)
        rank = int(interval.low)
        assert interval.high == n + 1 - rank

        def coverage(rank):
            return 1 - 2 * scipy_stats.binom.cdf(rank - 1, n, 0.5)

        if coverage(1) >= confidence:
            assert interval.confidence == pytest.approx(coverage(rank))
            assert coverage(rank) >= confidence > coverage(rank + 1)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([5.0], Interval(5, 5, 5, 0)),
            ([1.0, 2.0], Interval(1.5, 1, 2, 0.5)),
            ([1.0, 2.0, 9.0], Interval(2, 1, 9, 0.75)),
        ],
    )
    def test_small_samples_say_what_their_extremes_are_worth(self, values, expected):
        assert median_interval(values, 0.95) == expected

    def test_it_covers_independent_skewed_values_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        trials = 3000
        for n in (10, 41):
            samples = rng.lognormal(size=(trials, n))
            intervals = [median_interval(sample, 0.95) for sample in samples]
            covered = sum(interval.low <= 1 <= interval.high for interval in intervals)
            promised = intervals[0].confidence
            assert at_least(covered, trials, promised)
            assert at_most(covered, trials, promised)

    def test_it_covers_two_modes_as_well_but_spans_them(self):
        """Two modes of equal weight: the median of 40 says little, and the width says so."""
        rng = np.random.default_rng(2)
        trials = 1000
        intervals = []
        for _ in range(trials):
            modes = np.where(rng.random(40) < 0.5, 1.0, 2.0)
            intervals.append(median_interval(modes * rng.lognormal(sigma=0.01, size=40), 0.95))
        # Half of the values lie below 1.4, so any point between the modes is a median.
        assert at_least(sum(i.low <= 1.4 <= i.high for i in intervals), trials, intervals[0].confidence)
        assert np.median([relative_half_width(i) for i in intervals]) > 0.3

    def test_autocorrelation_makes_it_lie(self):
        """Why blocks and not calls: at the correlation of successive calls (0.75) 95 % turns into about 60 %."""
        rng = np.random.default_rng(3)
        covered = 0
        for _ in range(1000):
            interval = median_interval(np.exp(autocorrelated(rng, 40, 0.02, 0.75)), 0.95)
            covered += interval.low <= 1 <= interval.high
        assert 500 < covered < 750

    @pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf]])
    def test_it_refuses_what_has_no_median(self, values):
        with pytest.raises(ValueError, match="value"):
            median_interval(values)

    @pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
    def test_it_refuses_what_is_no_confidence(self, confidence):
        with pytest.raises(ValueError, match="confidence"):
            median_interval([1.0], confidence)


def test_the_half_width_is_that_of_the_wider_side():
    assert relative_half_width(Interval(10, 9.5, 12, 0.95)) == pytest.approx(0.2)
    assert relative_half_width(Interval(10, 10, 10, 0.95)) == 0
    assert relative_half_width(median_interval([10.0])) == math.inf


def hodges_lehmann_by_hand(differences, confidence):
    """Walsh averages and the null distribution by enumerating all signs: the definition itself."""
    n = len(differences)
    walsh = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(differences, 2))
    sums = [sum(ranks) for k in range(n + 1) for ranks in itertools.combinations(range(1, n + 1), k)]
    rank = 1
    while sum(total <= rank for total in sums) / 2**n <= (1 - confidence) / 2:
        rank += 1
    below = sum(total <= rank - 1 for total in sums) / 2**n
    return np.median(walsh), walsh[rank - 1], walsh[len(walsh) - rank], 1 - 2 * below


class TestComparePaired:
    @pytest.mark.parametrize("n", [6, 9, 12])
    def test_small_examples_agree_with_the_definition(self, n):
        rng = np.random.default_rng(n)
        a, b = rng.lognormal(size=(2, n))
        comparison = compare_paired(a, b)
        center, low, high, achieved = hodges_lehmann_by_hand(np.log(b / a), 0.95)
        assert comparison.ratio == pytest.approx(math.exp(center))
        assert comparison.low == pytest.approx(math.exp(low))
        assert comparison.high == pytest.approx(math.exp(high))
        assert comparison.confidence == pytest.approx(achieved)
        assert comparison.p_value == pytest.approx(scipy_stats.wilcoxon(np.log(b / a), method="exact").pvalue)
        assert comparison.pairs == n

    @pytest.mark.parametrize("digits", [9, 2])
    @pytest.mark.parametrize("n", [6, 10, 20, 40])
    def test_the_interval_excludes_1_exactly_when_the_test_rejects(self, n, digits):
        rng = np.random.default_rng(4)
        for shift in rng.normal(scale=0.02, size=200):
            a, b = rng.lognormal(sigma=0.03, size=(2, n))
            comparison = compare_paired(a.round(digits), (b * math.exp(shift)).round(digits))
            rejected = comparison.p_value <= 1 - comparison.confidence
            assert (comparison.low > 1 or comparison.high < 1) == rejected

    def test_it_agrees_with_the_textbook(self):
        """Hollander, example 3.1 and 3.3 to 3.5: depression factors of nine patients before and after tranquilliser."""
        before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
        after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
        comparison = compare_paired(np.exp(before), np.exp(after), confidence=0.96)
        assert math.log(comparison.ratio) == pytest.approx(-0.46)
        assert math.log(comparison.low) == pytest.approx(-0.786)
        assert math.log(comparison.high) == pytest.approx(-0.010)
        assert comparison.confidence == pytest.approx(1 - 2 * 0.0195, abs=1e-4)
        assert comparison.p_value == pytest.approx(2 * 0.0195, abs=1e-4)

    def test_exchanging_the_arms_exchanges_the_verdict(self):
        rng = np.random.default_rng(5)
        a, b = rng.lognormal(sigma=0.01, size=(2, 30))
        forth, back = compare_paired(a, b * 1.05), compare_paired(b * 1.05, a)
        assert (forth.verdict, back.verdict) == ("slower", "faster")
        assert forth.ratio == pytest.approx(1 / back.ratio)
        assert forth.low == pytest.approx(1 / back.high)
        assert forth.p_value == back.p_value

    def test_equal_arms_are_called_different_no_more_often_than_promised(self):
        """Independent noise of 2 %, 20 and 40 rounds: by the test 5 %, as a verdict 1 %."""
        rng = np.random.default_rng(6)
        trials = 1000
        for n in (20, 40):
            comparisons = [compare_paired(*np.exp(rng.normal(scale=0.014, size=(2, n)))) for _ in range(trials)]
            assert at_most(sum(c.p_value <= 0.05 for c in comparisons), trials, 0.05)
            assert at_most(sum(c.verdict in ("faster", "slower") for c in comparisons), trials, 0.01)
            # The other side of the promise: the test is not so shy as to say nothing.
            assert at_least(sum(c.p_value <= 0.05 for c in comparisons), trials, 0.035)

    def test_a_threshold_as_large_as_the_smallest_detectable_effect_keeps_verdicts_honest(self):
        """Noise of 10 %: with a threshold of 1 % the verdict errs nearly as often as the test; with a fit one hardly."""
        rng = np.random.default_rng(7)
        trials, wrong, wrong_when_fit = 600, 0, 0
        for _ in range(trials):
            a, b = np.exp(rng.normal(scale=0.07, size=(2, 40)))
            comparison = compare_paired(a, b)
            fit = compare_paired(a, b, threshold=comparison.smallest_detectable)
            wrong += comparison.verdict in ("faster", "slower")
            wrong_when_fit += fit.verdict in ("faster", "slower")
        assert not at_most(wrong, trials, 0.01)
        assert at_most(wrong, trials, 0.05)
        assert at_most(wrong_when_fit, trials, 0.01)

    def test_three_per_cent_are_found_in_noise(self):
        rng = np.random.default_rng(8)
        trials = 300
        found = 0
        for _ in range(trials):
            a, b = np.exp(rng.normal(scale=0.02, size=(2, 40)))
            found += compare_paired(a, 1.03 * b).verdict == "slower"
        assert at_least(found, trials, 0.99)

    def test_equality_is_found_where_the_noise_allows(self):
        rng = np.random.default_rng(9)
        verdicts = [compare_paired(*np.exp(rng.normal(scale=0.007, size=(2, 40)))).verdict for _ in range(100)]
        assert verdicts.count("equivalent") > 85  # the interval holds 1 in 95 %

    def test_pairing_cancels_what_both_arms_suffer(self):
        """Drift of 20 %, bursts that last rounds, and two modes of the machine, all common to both arms of a round.

        The paired test keeps its promise and finds 3 %; two separate samples of the same values could not.
        """
        rng = np.random.default_rng(10)
        trials, n = 300, 40
        different, found, unpaired_widths, paired_widths = 0, 0, [], []
        for _ in range(trials):
            common = np.linspace(0, 0.2, n) + autocorrelated(rng, n, 0.05, 0.8) + 0.3 * (rng.random(n) < 0.4)
            a, b = np.exp(common + rng.normal(scale=0.007, size=(2, n)))
            comparison = compare_paired(a, b)
            different += comparison.p_value <= 0.05
            found += compare_paired(a, 1.03 * b).verdict == "slower"
            paired_widths.append(comparison.high / comparison.low)
            unpaired = descriptive_ratio(median_interval(a), median_interval(b))
            unpaired_widths.append(unpaired.high / unpaired.low)
        assert at_most(different, trials, 0.05)
        assert found == trials
        assert np.median(paired_widths) < 1.01
        assert np.median(unpaired_widths) > 1.2

    def test_one_arm_after_the_other_is_called_different_when_nothing_is(self):
        """Why arms are interleaved: under common drift the second of two equal arms looks slower, nearly always."""
        rng = np.random.default_rng(11)
        trials, n, wrong = 300, 40, 0
        for _ in range(trials):
            machine = np.linspace(0, 0.05, 2 * n) + autocorrelated(rng, 2 * n, 0.01, 0.8)
            times = np.exp(machine + rng.normal(scale=0.005, size=2 * n))
            ratio = descriptive_ratio(median_interval(times[:n]), median_interval(times[n:]))
            wrong += not ratio.low <= 1 <= ratio.high
        assert wrong > 0.5 * trials

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_too_few_rounds_decide_nothing(self, n):
        comparison = compare_paired(np.ones(n), np.full(n, 2.0))
        assert comparison.verdict == "inconclusive"
        assert comparison.ratio == 2
        assert comparison.confidence == 1 - 2.0 ** (1 - n)
        assert comparison.smallest_detectable == math.inf

    def test_identical_times_are_equivalent_not_an_error(self):
        comparison = compare_paired([3.0] * 20, [3.0] * 20)
        assert (comparison.ratio, comparison.low, comparison.high) == (1, 1, 1)
        assert comparison.p_value == 1
        assert comparison.verdict == "equivalent"
        assert comparison.smallest_detectable == 0

    @pytest.mark.parametrize("n", [8, 40, 80])
    def test_equal_differences_are_a_difference(self, n):
        comparison = compare_paired(np.full(n, 100.0), np.full(n, 102.0))
        assert comparison.ratio == pytest.approx(1.02)
        assert comparison.p_value < 0.01
        assert comparison.verdict == "slower"

    def test_ticks_of_the_clock_that_tie_are_evidence_of_equality(self):
        """Eighteen ties and six differences one way: dropping the ties calls it significant, p = 0.03."""
        a = [1000.0] * 24
        b = [1000.0] * 18 + [1042.0] * 6
        assert scipy_stats.wilcoxon(np.log(b), np.log(a), zero_method="wilcox").pvalue < 0.05
        comparison = compare_paired(a, b)
        assert comparison.p_value > 0.05
        assert comparison.ratio == 1
        assert comparison.low <= 1 <= comparison.high
        assert comparison.verdict in ("equivalent", "inconclusive")

    def test_ties_do_not_raise_the_error_rate(self):
        rng = np.random.default_rng(12)
        trials = 600
        wrong = 0
        for _ in range(trials):
            a, b = 41.67 * np.round(rng.normal(100, 1, size=(2, 20)))  # a clock that ticks at 24 MHz
            comparison = compare_paired(a, b)
            wrong += not comparison.low <= 1 <= comparison.high
        assert at_most(wrong, trials, 0.05)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ([1.0, 2.0], [1.0]),
            ([], []),
            ([1.0, math.nan], [1.0, 1.0]),
            ([1.0, 1.0], [1.0, math.inf]),
            ([1.0, 0.0], [1.0, 1.0]),
            ([1.0, 1.0], [1.0, -1.0]),
        ],
    )
    def test_it_refuses_what_are_no_pairs_of_times(self, a, b):
        with pytest.raises(ValueError, match=r"pairs|value|times"):
            compare_paired(a, b)


@pytest.mark.parametrize(
    ("low", "ratio", "high", "expected"),
    [
        (1.02, 1.03, 1.04, "slower"),
        (0.96, 0.97, 0.98, "faster"),
        (0.995, 1.0, 1.005, "equivalent"),
        (1.002, 1.004, 1.006, "inconclusive"),  # surely different, surely too little to matter: not equal
        (1.002, 1.009, 1.016, "inconclusive"),  # different, but perhaps by more than matters, perhaps by less
        (1.001, 1.02, 1.04, "slower"),  # beyond the threshold, and certainly not equal
        (0.97, 1.02, 1.07, "inconclusive"),
        (0.999, 1.03, 1.06, "inconclusive"),
        (1.0, 1.05, 1.1, "inconclusive"),  # an interval that touches 1 does not exclude it
        (1 / 1.01, 1.0, 1.01, "equivalent"),
        (0.98, 0.99005, 0.995, "faster"),  # 1 / 0.99005 is beyond 1.01
        (0.99005, 0.995, 1.0, "inconclusive"),
        (1.01, 1.01, 1.01, "inconclusive"),
        (1.0, 1.0, 1.0, "equivalent"),
    ],
)
def test_the_verdict_follows_from_interval_and_threshold(low, ratio, high, expected):
    assert verdict(low, high, ratio, 0.01) == expected
    mirrored = {"faster": "slower", "slower": "faster"}.get(expected, expected)
    assert verdict(1 / high, 1 / low, 1 / ratio, 0.01) == mirrored


def test_a_verdict_needs_a_sound_question():
    with pytest.raises(ValueError, match="threshold"):
        verdict(0.9, 1.1, 1.0, -0.01)
    with pytest.raises(ValueError, match="within its interval"):
        verdict(1.1, 1.2, 1.0, 0.01)


class TestHolm:
    def test_a_table_computed_by_hand(self):
        # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, then no smaller than the one before.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_it_never_passes_1_and_keeps_the_order(self):
        assert holm([0.9, 0.5]) == [1.0, 1.0]
        assert holm([0.02]) == [0.02]
        assert holm([]) == []

    def test_it_keeps_the_error_rate_of_a_whole_table(self):
        rng = np.random.default_rng(13)
        trials = 2000
        wrong = sum(min(holm(table)) <= 0.05 for table in rng.random((trials, 30)).tolist())
        assert at_most(wrong, trials, 0.05)
        assert at_least(wrong, trials, 0.03)

    @pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
    def test_it_refuses_what_is_no_probability(self, p):
        with pytest.raises(ValueError, match="p value"):
            holm([0.5, p])


class TestSmallestDetectableEffect:
    @pytest.mark.parametrize("n", [20, 40])
    def test_it_is_found_four_times_in_five(self, n):
        rng = np.random.default_rng(14)
        effect = smallest_detectable_effect(0.02, n)
        trials = 600
        noise = rng.normal(scale=0.02, size=(trials, n))
        found = sum(scipy_stats.wilcoxon(row + math.log1p(effect)).pvalue <= 0.05 for row in noise)
        assert 0.75 < found / trials < 0.85

    def test_heavy_tails_are_found_more_often_than_promised(self):
        rng = np.random.default_rng(15)
        trials, n = 400, 40
        noise = rng.laplace(scale=0.02 / math.sqrt(2), size=(trials, n))
        effect = smallest_detectable_effect(0.02, n)
        found = sum(scipy_stats.wilcoxon(row + math.log1p(effect)).pvalue <= 0.05 for row in noise)
        assert found / trials > 0.85

    def test_more_pairs_and_less_noise_see_less(self):
        assert smallest_detectable_effect(0.02, 80) < smallest_detectable_effect(0.02, 40)
        assert smallest_detectable_effect(0.01, 40) < smallest_detectable_effect(0.02, 40)
        assert smallest_detectable_effect(0.02, 40, power=0.99) > smallest_detectable_effect(0.02, 40)
        assert smallest_detectable_effect(0.0, 40) == 0

    def test_differences_stand_for_their_deviation(self):
        differences = [0.01, -0.02, 0.03, 0.0, 0.01, -0.01, 0.02]
        deviation = float(np.std(differences, ddof=1))
        assert smallest_detectable_effect(differences) == smallest_detectable_effect(deviation, 7)

    def test_five_pairs_can_never_reach_five_per_cent(self):
        assert smallest_detectable_effect(0.02, 5) == math.inf
        assert math.isfinite(smallest_detectable_effect(0.02, 6))
        assert smallest_detectable_effect([0.1]) == math.inf

    @pytest.mark.parametrize("arguments", [(0.02,), (-1.0, 10), (math.nan, 10), (0.02, 0), ([math.nan, 1.0],)])
    def test_it_refuses_what_has_no_answer(self, arguments):
        with pytest.raises(ValueError, match=r"effect|finite"):
            smallest_detectable_effect(*arguments)


class TestDescriptiveRatio:
    def test_it_holds_whenever_both_intervals_hold(self):
        ratio = descriptive_ratio(Interval(10, 9, 12, 0.96), Interval(20, 18, 21, 0.97))
        assert ratio == Interval(2.0, 18 / 12, 21 / 9, pytest.approx(0.93))

    def test_it_covers_at_least_as_often_as_it_says(self):
        rng = np.random.default_rng(16)
        trials, covered = 1000, 0
        for _ in range(trials):
            a, b = rng.lognormal(sigma=0.1, size=(2, 20))
            ratio = descriptive_ratio(median_interval(a), median_interval(1.2 * b))
            covered += ratio.low <= 1.2 <= ratio.high
        assert at_least(covered, trials, ratio.confidence)

    def test_it_refuses_bounds_that_are_no_times(self):
        with pytest.raises(ValueError, match="above 0"):
            descriptive_ratio(Interval(1, 0, 2, 0.95), Interval(1, 1, 1, 0.95))


class TestDrift:
    def test_it_gives_the_change_over_the_whole_session(self):
        seconds = np.arange(0, 3600, 60.0)
        trend = drift(seconds, 1e6 * np.exp(np.linspace(0, math.log(1.05), len(seconds))))
        assert trend.estimate == pytest.approx(0.05)
        assert trend.low <= trend.estimate <= trend.high

    def test_outliers_hardly_move_it(self):
        rng = np.random.default_rng(17)
        values = np.exp(np.linspace(0, 0.04, 50) + rng.normal(scale=0.005, size=50))
        values[::10] *= 3
        trend = drift(range(50), values)
        assert trend.low < math.expm1(0.04) < trend.high
        assert trend.high - trend.low < 0.02

    @pytest.mark.parametrize("n", [5, 6, 17, 60])
    @pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
    @pytest.mark.parametrize("decimals", [1, 9])  # with ties in both, and without
    def test_it_is_sens_interval_by_scipy(self, n, confidence, decimals):
        rng = np.random.default_rng(n)
        times = np.round(np.sort(rng.uniform(0, 4, n)), decimals)
        values = np.round(rng.lognormal(sigma=0.2, size=n), decimals)
        known = scipy_stats.theilslopes(np.log(values), times, alpha=confidence)
        slopes = np.array([known.slope, known.low_slope, known.high_slope])
        trend = drift(times, values, confidence)
        assert [trend.estimate, trend.low, trend.high] == pytest.approx(np.expm1(slopes * np.ptp(times)))

    def test_it_finds_a_trend_no_more_often_than_promised_where_there_is_none(self):
        rng = np.random.default_rng(18)
        trials = 1000
        trends = [drift(range(30), row) for row in rng.lognormal(sigma=0.02, size=(trials, 30))]
        assert at_most(sum(not trend.low <= 0 <= trend.high for trend in trends), trials, 0.05)

    def test_bursts_look_like_trends(self):
        """Why it flags and does not prove: where deviations follow each other, 5 % turn into more than 20 %."""
        rng = np.random.default_rng(19)
        trends = [drift(range(30), np.exp(autocorrelated(rng, 30, 0.02, 0.8))) for _ in range(300)]
        assert sum(not trend.low <= 0 <= trend.high for trend in trends) > 60

    @pytest.mark.parametrize(("n", "achieved"), [(2, 0.0), (3, 2 / 3), (4, 11 / 12)])
    def test_few_values_say_what_their_extreme_slopes_are_worth(self, n, achieved):
        values = [1.0, 1.3, 1.1, 1.2][:n]
        trend = drift(range(n), values)
        assert trend.confidence == pytest.approx(achieved)
        slopes = [math.log(values[j] / values[i]) / (j - i) for i, j in itertools.combinations(range(n), 2)]
        assert trend.low == pytest.approx(math.expm1(min(slopes) * (n - 1)))
        assert trend.high == pytest.approx(math.expm1(max(slopes) * (n - 1)))

    def test_values_that_never_change_have_no_trend(self):
        assert drift(range(10), [5.0] * 10) == Interval(0, 0, 0, 0.95)

    @pytest.mark.parametrize(
        ("times", "values"),
        [([1, 2], [1]), ([1, 1], [1, 2]), ([1], [1]), ([1, 2], [1, 0]), ([1, math.nan], [1, 1]), ([], [])],
    )
    def test_it_refuses_what_has_no_trend(self, times, values):
        with pytest.raises(ValueError, match=r"time|value"):
            drift(times, values)


class TestPercentile:
    @pytest.mark.parametrize(("q", "least"), [(50, 11), (90, 64), (99, 662), (10, 64), (1, 662)])
    def test_it_needs_a_sample_that_can_bound_it(self, q, least):
        assert percentile(range(1, least), q) is None
        assert percentile(range(1, least + 1), q) is not None

    def test_the_least_sample_is_the_one_whose_second_largest_value_bounds_it(self):
        """The derivation of 64, tried out: the second largest of 64 exceeds the true p90 99 % of the time."""
        rng = np.random.default_rng(20)
        trials = 4000
        second_largest = np.sort(rng.random((trials, 64)))[:, -2]
        assert at_least(int((second_largest > 0.9).sum()), trials, 0.99)
        assert not at_least(int((np.sort(rng.random((trials, 50)))[:, -2] > 0.9).sum()), trials, 0.99)

    def test_it_estimates_the_quantile(self):
        rng = np.random.default_rng(21)
        assert percentile(rng.random(5000), 90) == pytest.approx(0.9, abs=0.015)
        assert percentile(range(1, 102), 50) == 51

    @pytest.mark.parametrize("q", [0.9, 0, 100, math.nan])
    def test_a_fraction_is_not_taken_for_per_cent(self, q):
        with pytest.raises(ValueError, match="per cent"):
            percentile([1.0, 2.0], q)


class TestOutliers:
    def test_it_says_where_they_are(self):
        values = [100.0, 101, 99, 100, 102, 98, 300, 100, 101, 20]
        assert outliers(values) == [6, 9]

    def test_it_judges_by_ratio_not_by_difference(self):
        """Ten times slower and ten times faster are equally odd."""
        values = [100.0, 101, 99, 100.5, 99.5]
        assert outliers([*values, 1000.0]) == [5]
        assert outliers([*values, 10.0]) == [5]

    def test_normal_noise_is_hardly_ever_flagged(self):
        rng = np.random.default_rng(22)
        flagged = sum(len(outliers(row)) for row in rng.lognormal(sigma=0.02, size=(200, 100)))
        assert flagged < 0.002 * 200 * 100

    def test_equal_values_hide_no_outlier(self):
        assert outliers([100.0] * 20 + [150.0]) == [20]
        assert outliers([100.0] * 20) == []
        assert outliers([100.0]) == []

    def test_a_smaller_second_mode_is_flagged_whole(self):
        rng = np.random.default_rng(23)
        modes = np.concatenate([np.full(30, 100.0), np.full(10, 130.0)]) * rng.lognormal(sigma=0.01, size=40)
        assert outliers(modes) == list(range(30, 40))


def test_comparing_loads_no_scipy():
    """The controller compares between blocks, where a second's import would let the machine go idle."""
    code = "import sys; from mtbench.results import stats; stats.compare_paired([1.0], [2.0]); print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_null_distribution_is_exact():
    """The counts for n = 4: 0 to 10 come about in 1, 1, 1, 2, 2, 2, 2, 2, 1, 1, 1 of 16 ways."""
    ways = np.diff(signed_rank.cumulative(4), prepend=0) * 16
    assert ways.tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 1, 1, 1]


def test_the_interval_of_a_mean_is_students():
    # Student's own kind of example: mean 3, sd sqrt(2.5), t(4, 0.975) = 2.7764
    found = stats.mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.estimate == 3.0
    assert found.high - 3.0 == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert 3.0 - found.low == pytest.approx(found.high - 3.0)
    with pytest.raises(ValueError, match="two"):
        stats.mean_interval([1.0])
