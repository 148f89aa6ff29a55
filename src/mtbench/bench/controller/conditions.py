"""Warnings about the machine's state during a visit, for the records of that visit."""

from collections.abc import Iterable

from mtbench.machine.watch import Reading
from mtbench.results.format import size

SWAPPED_BYTES = 16 << 20
"""Less is some other program's odd page."""


def warnings_of(before: Reading, after: Reading) -> list[str]:
    """Warnings for the records of a visit, from the readings before its rounds and after. Those of one kind begin alike, up
    to a colon."""
    found = [warning for reading in (before, after) for warning in _of_moment(reading)]
    if before.power_source and after.power_source and before.power_source != after.power_source:
        found.append(f"the power source changed: from {before.power_source} to {after.power_source}")
    if (after.swapped_bytes or 0) >= SWAPPED_BYTES:
        found.append(f"swapped while it was measured: {size(after.swapped_bytes or 0)}")
    if after.slept_s:
        found.append(f"the machine slept while it was measured: {after.slept_s:.0f} s")
    return list(dict.fromkeys(found))


def joined(old: list[str], new: Iterable[str]) -> list[str]:
    """Warnings with those of a later visit, which replace what they say more newly: a figure is the last one's."""
    newer = {warning.partition(":")[0]: warning for warning in new}
    kept = [warning for warning in old if warning.partition(":")[0] not in newer]
    return kept + list(newer.values())


def _of_moment(reading: Reading) -> list[str]:
    found = []
    if reading.thermal_state in ("serious", "critical"):
        found.append(f"measured under thermal state '{reading.thermal_state}'")
    if reading.thermal_pressure in ("heavy", "trapping", "sleeping"):
        found.append(f"measured under thermal pressure '{reading.thermal_pressure}'")
    if reading.cpu_throttled:
        found.append("measured while heat slowed a processor down")
    if reading.hot_gpu:
        found.append(f"measured while the GPU's clocks were held back: {', '.join(reading.hot_gpu)}")
    if reading.low_power_mode:
        found.append("measured in low-power mode")
    if reading.memory_pressure in ("warning", "critical"):
        found.append(f"measured under memory pressure '{reading.memory_pressure}'")
    return found
