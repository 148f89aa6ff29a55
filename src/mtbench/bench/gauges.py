"""What a sweep measures of the machine itself: the peak rates that bound every result, and the canary that tells drift."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mtbench.bench.tally import Tally

RATES = ("flops_per_s", "bytes_per_s")


@dataclass
class Peaks:
    """Peak rates by arm and dtype, and the best of the arms that compute alike."""

    measured: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def has(self, tally: Tally) -> bool:
        return (tally.arm, tally.job.cell.dtype) in self.measured

    def note(self, tally: Tally, answer: Mapping[str, Any]) -> None:
        alike = (tally.device, tally.job.cell.dtype, tally.job.arm.matmul_precision)
        rates = {rate: answer.get(rate) for rate in RATES}
        self.measured[tally.arm, tally.job.cell.dtype] = {"alike": alike, **rates}

    def best(self, tally: Tally) -> dict[str, float | None]:
        """The best rates of all arms on the same device with the same dtype and matmul precision."""
        alike = (tally.device, tally.job.cell.dtype, tally.job.arm.matmul_precision)
        group = [entry for entry in self.measured.values() if entry["alike"] == alike]
        return {rate: max((e[rate] for e in group if e[rate] is not None), default=None) for rate in RATES}


class Canary:
    """The canary's timings of one epoch, by device and the worker (process id) that timed it."""

    def __init__(self) -> None:
        self.timings: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)

    def clear(self) -> None:
        self.timings.clear()

    def note(self, device: str, worker: int, call_ns: float) -> None:
        self.timings[device, worker].append((time.monotonic(), call_ns))

    def drifts(self) -> dict[str, float]:
        """Each device's trend as a fraction, from the worker that timed most; 0 where its interval holds 0."""
        from mtbench.stats import drift

        longest: dict[str, list[tuple[float, float]]] = {}
        for (device, _), timings in self.timings.items():
            if len(timings) > len(longest.get(device, [])):
                longest[device] = timings
        trends = {}
        for device, timings in longest.items():
            if len(timings) >= 5:
                trend = drift([at for at, _ in timings], [call_ns for _, call_ns in timings])
                trends[device] = 0.0 if trend.low <= 0 <= trend.high else trend.estimate
        return trends
