"""Memory that grows from call to call is told in bytes per call; memory that does not is not."""

from itertools import count

import pytest

from mtbench.bench.worker import growth


def test_a_slope_is_of_most_readings_and_not_of_a_step() -> None:
    calls = list(range(100, 1100, 100))
    assert growth.slope(calls, [1000 + 64 * each for each in calls]) == 64
    assert growth.slope(calls, [5000] * 10) == 0
    assert growth.slope(calls, [5000] * 5 + [9_000_000] * 5) < 9_000_000 / 100 / 5
    assert growth.slope(calls, [5000] * 8 + [9_000_000] * 2) == 0  # an allocator took more, once
    assert growth.slope([7], [1]) == 0


class Device:
    """A library whose device holds more after each call."""

    def __init__(self, leak: int) -> None:
        self.leak, self.used = leak, 0

    def run(self) -> None:
        self.used += self.leak

    def used_bytes(self) -> int:
        return self.used


def test_a_devices_memory_counts_too_and_slow_calls_end() -> None:
    device = Device(4096)
    found, warnings = growth.check(device, device.run, 1200, count().__next__)  # type: ignore[arg-type]
    assert found == pytest.approx(4096)
    assert warnings == ["memory grew by 4096 bytes per call over 1200 calls"]
    device = Device(65536)
    clock = count(step=int(growth.LIMIT_NS) // 300).__next__
    _, warnings = growth.check(device, device.run, 1200, clock)  # type: ignore[arg-type]
    assert 100 < device.used / 65536 < 320
    assert f"over {device.used // 65536} calls" in warnings[0]


@pytest.mark.parametrize(("how", "leaked"), [("well", 0), ("leaks", 2 * 8192 * 4)])
def test_a_call_that_keeps_its_results_is_found(how: str, leaked: int, measure, misbehaving, brief) -> None:
    brief.growth = 1000
    (record,) = measure([misbehaving(how, seq_len=8192)], brief).records
    assert record.status == "ok"
    assert record.growth_bytes == pytest.approx(leaked, rel=0.2, abs=leaked or 500)
    assert any("memory grew by" in warning for warning in record.warnings) == bool(leaked)


def test_nobody_is_asked_where_no_calls_are_wanted(measure, misbehaving, brief) -> None:
    (record,) = measure([misbehaving("well")], brief).records
    assert record.growth_bytes is None
