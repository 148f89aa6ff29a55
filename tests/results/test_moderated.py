"""The prior that earlier sweeps give for the spread between restarts."""

import numpy as np
import pytest
from scipy.special import polygamma

from mtbench.results.moderated import _inverse_trigamma, learn
from mtbench.results.prior import HIGHEST_DF


def test_the_prior_that_variances_were_drawn_from_is_found() -> None:
    """v0 = 4e-4 with 4 degrees of freedom: variances v0 d0 / chi2(d0), each estimated with 2 or 4 degrees of freedom."""
    rng = np.random.default_rng(1)
    true = 4e-4 * 4 / rng.chisquare(4, 6000)
    df = np.where(np.arange(6000) % 2, 2.0, 4.0)
    found = learn(list(zip((true * rng.chisquare(df) / df).tolist(), df.tolist(), strict=True)))
    assert found is not None
    assert found.variance == pytest.approx(4e-4, rel=0.1)
    assert found.df == pytest.approx(4, rel=0.15)


def test_a_prior_is_never_worth_more_than_a_few_restarts() -> None:
    rng = np.random.default_rng(2)
    found = learn([(float(4e-4 * chi / 4), 4.0) for chi in rng.chisquare(4, 2000)])
    assert found is not None
    assert found.df == HIGHEST_DF
    assert found.variance == pytest.approx(4e-4, rel=0.05)


def test_cells_that_differ_much_say_little_of_each_other() -> None:
    rng = np.random.default_rng(3)
    variances = np.exp(rng.normal(-8, 3, 300)) * rng.chisquare(4, 300) / 4
    found = learn([(float(variance), 4.0) for variance in variances])
    assert found is not None
    assert found.df < 1


def test_few_variances_are_no_prior_and_those_of_a_stuck_clock_do_not_count() -> None:
    assert learn([]) is None
    assert learn([(1e-4, 4.0)] * 9) is None
    assert learn([(1e-4, 4.0)] * 9 + [(0.0, 4.0)] * 9) is None
    assert learn([(1e-4, 4.0)] * 10 + [(0.0, 4.0)] * 9) == learn([(1e-4, 4.0)] * 10)


@pytest.mark.parametrize("x", [1e-3, 0.3, 1.0, 7.0, 1e3])
def test_the_inverse_of_trigamma(x: float) -> None:
    assert _inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x)
