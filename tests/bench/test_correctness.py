"""The correctness gate by itself."""

import numpy as np
import pytest

from mtbench.bench.worker import correctness


def test_an_index_beside_the_right_one_is_a_mismatch() -> None:
    # in a norm it would be next to nothing
    indices = np.arange(1000, 1100)
    expected = correctness.Expected(np.arange(100), [indices])
    assert correctness.check([indices.astype(float)], expected, 100, 2e-2) == 0
    with pytest.raises(correctness.Mismatch, match="1 of 100 indices are not those of the reference"):
        correctness.check([indices + (indices == 1050)], expected, 100, 2e-2)


def test_values_beside_the_right_ones_are_within_the_tolerance() -> None:
    values = np.arange(1000.0, 1100.0)
    expected = correctness.Expected(np.arange(100), [values])
    assert 0 < correctness.check([values + (values == 1050)], expected, 100, 2e-2) < 1e-4
