"""Memory that grows from call to call: what a library, or a form of an operator, leaves behind.

Bytes per call, as a slope over many calls. Allocators take memory in steps and find their size in the first calls, so the slope
is the median of those between all pairs of readings (Theil and Sen), without the first calls: steps now and then leave it at 0.
"""

import gc
import os
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

from mtbench.frameworks.base import Framework

WINDOWS, SKIPPED = 12, 2
"""Readings are taken after each of WINDOWS equal parts of the calls; the first SKIPPED are not used."""

LIMIT_NS = 30e9
"""After this there are no more calls."""

NOTABLE_BYTES = 1 << 20
"""A growth of less in all may be an allocator's own."""


def check(
    framework: Framework, run: Callable[[], object], calls: int, clock: Callable[[], int]
) -> tuple[float, list[str]]:
    """Bytes per call, of the process or of the device, whichever grows faster; and a warning where the growth is notable."""
    readings: list[tuple[int, int, int]] = []
    done, started = 0, clock()
    for _ in range(WINDOWS):
        for _ in range(max(1, calls // WINDOWS)):
            run()
            done += 1
            if clock() - started > LIMIT_NS:
                break
        gc.collect()
        readings.append((done, resident_bytes(), framework.used_bytes() or 0))
        if clock() - started > LIMIT_NS:
            break
    kept = readings[SKIPPED:] if len(readings) > 2 * SKIPPED else readings
    slopes = [slope([each[0] for each in kept], [each[which] for each in kept]) for which in (1, 2)]
    growth = max(slopes)
    if growth * (kept[-1][0] - kept[0][0]) < NOTABLE_BYTES:
        return growth, []
    return growth, [f"memory grew by {growth:.0f} bytes per call over {done} calls"]


def slope(calls: Sequence[int], used: Sequence[int]) -> float:
    """Bytes per call: the median of the slopes between all pairs of readings; 0 of a single one."""
    readings = list(zip(calls, used, strict=True))
    return median(
        [(later[1] - first[1]) / (later[0] - first[0]) for first, later in combinations(readings, 2)] or [0.0]
    )


def resident_bytes() -> int:
    """What of this process lies in memory now."""
    statm = Path("/proc/self/statm")  # proc(5): the second number, in pages
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)
