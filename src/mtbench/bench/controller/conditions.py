"""Warnings about the machine's state during a visit, for the records of that visit."""

import os
from collections.abc import Iterable, Sequence
from statistics import median

from mtbench.machine.watch import Reading
from mtbench.results.format import percent, size

SWAPPED_BYTES = 16 << 20
"""Fewer bytes may be some pages of another program."""


BUSY_PRESSURE = 0.5
"""Share of the last 10 s in which some task waited for a processor. It is 0.99 beside a load of 10 on two cores. Workers that
start side by side, or compile, cause some of it themselves, so a smaller share proves nothing."""

BUSY_LOAD, OWN_LOAD = 1.5, 1.0
"""The load above which a machine is busy: BUSY_LOAD tasks for each processor, and OWN_LOAD for the controller. A worker itself
has as many threads as there are processors."""

STOLEN = 0.1
"""The share of all processor time that a hypervisor gave to other machines."""

DISTURBED = 1.5
"""A queued block is disturbed if its slowest part takes this many times as long as its median part. One part of five is hit now
and then on any machine, but not so hard in half of a visit's blocks."""


def contention(reading: Reading, processors: int | None = None) -> str | None:
    """What shows that other work wants the processors now, or None."""
    processors = processors or usable_processors()
    found = []
    if (reading.cpu_pressure or 0.0) > BUSY_PRESSURE:
        found.append(f"tasks waited for a processor {percent(reading.cpu_pressure)} of the time")
    if (reading.load or 0.0) > BUSY_LOAD * processors + OWN_LOAD:
        found.append(f"load {reading.load:.1f} on {processors} processors")
    if (reading.steal_fraction or 0.0) > STOLEN:
        found.append(f"{percent(reading.steal_fraction)} of processor time went to other machines")
    return ", ".join(found) or None


def contended(reading: Reading, disturbance: Sequence[float], processors: int | None = None) -> list[str]:
    """A warning that starts with `contended` where a visit had to share the machine: by what the system says after it, or
    by parts of its queued blocks that should take equally long and do not."""
    found = [contention(reading, processors)]
    if disturbance and median(disturbance) > DISTURBED:
        found.append(f"equal parts of queued blocks differ {median(disturbance):.1f}-fold")
    told = [each for each in found if each is not None]
    return [f"contended: {', '.join(told)}"] if told else []


def usable_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    """Old warnings and those of a later visit. A new warning replaces an old one of its kind, so that figures are the
    latest."""
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
