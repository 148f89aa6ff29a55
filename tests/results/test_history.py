"""Steps of a time over versions and dates: found where they are, told with what changed, and not found in noise."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from mtbench.results.comparison import Timing
from mtbench.results.history import Moment, levels, ordered, steps
from mtbench.results.stats import Interval

START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(ns: float, number: int = 0, version: str = "1.0", half: float = 0.02, **facts: str) -> Moment:
    """A time with an interval of `half` to either side, from three restarts."""
    blocks = {(restart, 0): ns for restart in range(3)}
    interval = Interval(ns, ns * (1 - half), ns * (1 + half), 0.95)
    timing = Timing(f"sweep {number}", "cell", "machine", True, ns, interval, blocks)
    return Moment(timing, START + timedelta(days=number), version, {"library_version": version} | facts)


def test_a_step_is_found_with_its_size_and_what_changed() -> None:
    noise = random.Random(0)
    series = [moment(100 * (1 + noise.gauss(0, 0.01)), n, "1.0" if n < 6 else "1.1") for n in range(6)]
    series += [moment(80 * (1 + noise.gauss(0, 0.01)), n, "1.1", os_version="15.6") for n in range(6, 12)]
    (step,) = steps(series)
    assert step.index == 6
    assert step.ratio.estimate == pytest.approx(0.8, rel=0.02)
    assert step.ratio.low < 0.8 < step.ratio.high < 1
    assert step.changed == ("version 1.0 → 1.1", "system ? → 15.6")


def test_up_and_down_again_are_two_steps() -> None:
    found = steps([moment(ns, n) for n, ns in enumerate([100, 101, 100, 150, 151, 149, 100, 101, 99])])
    assert [(step.index, round(step.ratio.estimate, 1)) for step in found] == [(3, 1.5), (6, 0.7)]


def test_one_session_that_was_disturbed_is_a_level_of_its_own() -> None:
    """It was measured, with an interval that excludes the others: nothing says that it is not real."""
    assert [step.index for step in steps([moment(ns, n) for n, ns in enumerate([100, 101, 130, 100, 99])])] == [2, 3]


def test_noise_has_no_steps() -> None:
    noise = random.Random(1)
    for _ in range(50):
        assert steps([moment(100 * (1 + noise.gauss(0, 0.01)), n) for n in range(10)]) == []


def test_two_sessions_differ_only_where_their_intervals_do() -> None:
    assert steps([moment(100, 0, half=0.05), moment(108, 1, half=0.05)]) == []
    (step,) = steps([moment(100, 0), moment(108, 1)])
    assert step.index == 1


def test_less_than_one_per_cent_is_no_step() -> None:
    assert steps([moment(100, 0, half=0.0001), moment(100.9, 1, half=0.0001)]) == []
    assert len(steps([moment(100, 0, half=0.0001), moment(101.2, 1, half=0.0001)])) == 1


def test_a_time_without_bounds_is_as_uncertain_as_another_start() -> None:
    def lone(ns: float, number: int) -> Moment:
        one = moment(ns, number)
        timing = Timing("s", "cell", "machine", True, ns, None, {(0, 0): ns})
        return Moment(timing, one.at, "1.0", one.facts)

    assert steps([lone(100, 0), lone(120, 1)]) == []
    assert len(steps([lone(100, 0), lone(140, 1)])) == 1


def test_versions_are_ordered_as_versions_and_dates_within_them() -> None:
    given = [moment(1, 3, "0.10.0"), moment(2, 2, "0.9.1"), moment(3, 1, "0.10.0"), moment(4, 0, "main")]
    assert [one.timing.ns for one in ordered(given)] == [4, 2, 3, 1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0], [0]), ([0.0, 0.0, 0.0], [0]), ([0.0, 0.0, 9.0, 9.0], [0, 2]), ([0.0, 9.0, 0.0], [0, 1, 2])],
)
def test_levels(values: list[float], expected: list[int]) -> None:
    assert levels(values, [1.0] * len(values)) == expected


def test_levels_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 values"):
        levels([], [])
