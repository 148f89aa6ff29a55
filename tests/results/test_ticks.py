"""What a block comes to on a clock that ticks slowly."""

import numpy as np
import pytest

from mtbench.results import comparison
from mtbench.results.ticks import block_ns

TICK = 41.67


def read(rng: np.random.Generator, ns: float, calls: int, disturbed: float = 0.0) -> list[float]:
    """Calls of this duration as such a clock shows them; some of them take twice as long, on average."""
    begun = rng.random(calls)
    took = ns * (1 + (rng.random(calls) < disturbed) * rng.exponential(1.0, calls)) / TICK
    return list(TICK * (np.floor(begun + took) - np.floor(begun)))


@pytest.mark.parametrize("disturbed", [0.0, 0.05])
@pytest.mark.parametrize("ns", [555.0, 562.0, 564.5, 575.0, 583.4])
def test_the_calls_near_the_median_say_what_is_between_two_ticks(ns: float, disturbed: float) -> None:
    calls = read(np.random.default_rng(1), ns, 4000, disturbed)
    assert block_ns(calls, TICK) == pytest.approx(ns, abs=0.06 * TICK)
    assert block_ns(calls) / TICK == pytest.approx(round(block_ns(calls) / TICK))


def test_where_the_clock_is_fine_a_block_is_its_median() -> None:
    calls = [100_000.0, 100_050.0, 100_300.0, 900_000.0]
    assert block_ns(calls, TICK) == block_ns(calls) == 100_175
    assert block_ns([7], TICK) == 7


def test_a_block_without_calls_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one call"):
        block_ns([])


def test_what_a_tick_can_hide_is_no_evidence() -> None:
    a = {(restart, number): 100.0 + 0.01 * restart for restart in range(5) for number in range(8)}
    b = {place: ns * (1.02 + 0.0001 * place[0]) for place, ns in a.items()}
    seen, hidden = comparison.compare(a, b), comparison.compare(a, b, tick_ns=20.0)
    assert seen is not None
    assert hidden is not None
    assert seen.p_value < 0.05
    assert hidden.p_value == 1.0
