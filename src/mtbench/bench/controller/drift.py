"""The canary: a fixed product timed beside every operator, whose trend is the machine's own drift."""

import time
from collections import defaultdict
from collections.abc import Callable


class Canary:
    """The canary's timings of one restart, by device and the worker (process id) that timed it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.timings: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)

    def clear(self) -> None:
        self.timings.clear()

    def note(self, device: str, worker: int, call_ns: float) -> None:
        self.timings[device, worker].append((self.clock(), call_ns))

    def drifts(self) -> dict[str, float]:
        """Each device's trend as a fraction, from the worker that timed most; 0 where its interval holds 0."""
        from mtbench.results.stats import drift

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
