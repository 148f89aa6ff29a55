"""Heat during a sweep: rests between visits, waits while the machine is hot, and ends the sweep if it gets too hot."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

from mtbench.machine.nvidia import FIRST, Ordinal
from mtbench.machine.watch import HEAT, Reading
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

STEP_S = 5.0


class Sampled(Interface):
    """Whatever samples the machine."""

    def sample_with(self, gpus: Sequence[Ordinal]) -> list[Reading]: ...


class TooHot(KeyboardInterrupt):
    """The machine reached `protocol.stop_when_hot`; the sweep ends as if its user had asked for it, and keeps what it has."""


class Cooling:
    """The pauses between visits. The rest that a visit earns is taken before the next one, so none follows the last."""

    def __init__(
        self,
        protocol: Protocol,
        watch: Sampled,
        progress: Progress,
        rest: Callable[[float], None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.protocol = protocol
        self.watch = watch
        self.progress = progress
        self.rest = rest or time.sleep
        self.clock = clock or time.monotonic
        self.owed_s = 0.0
        self.gpus: Sequence[Ordinal] = (FIRST,)  # that the last visit used
        self.last: Reading | None = None

    def visited(self, worked_s: float) -> None:
        """Notes how long a visit took."""
        self.owed_s += self.protocol.cooldown_fraction * worked_s

    def seen(self, readings: Sequence[Reading], gpus: Sequence[Ordinal] = (FIRST,)) -> None:
        """Notes the machine's state at the end of a visit, read with each of the GPUs that the visit used. Raises TooHot."""
        self.gpus = gpus
        self.last = _hottest(readings)
        self._stop_if_too_hot(self.last)

    def before_visit(self) -> None:
        """Rests as long as is owed, then waits while the machine is too hot, at most `cooldown_cap_s`. Raises TooHot."""
        if self.last is None:  # the first visit: the machine may be hot from what ran before
            self.last = self._sample()
            self._stop_if_too_hot(self.last)
        if self.owed_s > 0:
            self.rest(self.owed_s)
        self.owed_s = 0.0
        started = self.clock()
        while (flag := self.last.thermal_flag) and self.clock() - started < self.protocol.cooldown_cap_s:
            self.progress.warn(f"waiting for the machine to cool down: {flag}")
            self.rest(STEP_S)
            self.last = self._sample()
            self._stop_if_too_hot(self.last)

    def _sample(self) -> Reading:
        return _hottest(self.watch.sample_with(self.gpus))

    def _stop_if_too_hot(self, reading: Reading) -> None:
        limit = self.protocol.stop_when_hot
        if limit is not None and HEAT.index(reading.heat) >= HEAT.index(limit):
            said = reading.thermal_flag or f"its heat is '{reading.heat}'"
            self.progress.warn(
                f"the machine is too hot, so the sweep ends here (protocol.stop_when_hot={limit}): {said}"
            )
            raise TooHot


def _hottest(readings: Sequence[Reading]) -> Reading:
    return max(readings, key=lambda reading: HEAT.index(reading.heat))
