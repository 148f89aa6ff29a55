"""Energy per call: a separate pass that only calls, for some seconds; the idle power is subtracted."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mtbench.machine.energy import Reader, reader
from mtbench.machine.nvidia import FIRST, Ordinal

Device = tuple[str, Ordinal]
"""cpu or gpu, and which GPU."""


@dataclass(frozen=True)
class Energy:
    """`joule` of one call above idle; `covers` says what the counter counts."""

    joule: float
    idle_watt: float
    covers: str


@dataclass
class Meter:
    """The energy counters of the devices, and what each uses when idle. `seconds` is the length of a pass."""

    seconds: float
    open_reader: Callable[[str, Ordinal], Reader | str] = reader
    clock: Callable[[], float] = time.monotonic
    rest: Callable[[float], None] = time.sleep
    readers: dict[Device, Reader | str] = field(default_factory=dict)
    idle_watt: dict[Device, float] = field(default_factory=dict)

    def prepare(self, device: str, gpu: Ordinal = FIRST) -> None:
        """Measures the device's idle power, once; nothing else may run meanwhile."""
        key = device, gpu
        if key in self.readers:
            return
        counter = self.readers[key] = self.open_reader(device, gpu)
        if isinstance(counter, str):
            return
        try:
            started, before = self.clock(), counter.read_joule()
            self.rest(self.seconds)
            self.idle_watt[key] = (counter.read_joule() - before) / (self.clock() - started)
        except OSError as error:
            self.readers[key] = str(error)
            return
        if standing := counter.standing():
            self.readers[key] = f"this system's counters stand still: {', '.join(standing)}"

    def measure(self, device: str, work: Callable[[float], int | None], gpu: Ordinal = FIRST) -> Energy | str | None:
        """Energy of one call of `work(seconds)`, which runs for that long and says how many calls that were.

        The reason as text where there is no counter; None where the work failed.
        """
        counter = self.readers[device, gpu]
        if isinstance(counter, str):
            return counter
        idle = self.idle_watt[device, gpu]
        try:
            started, before = self.clock(), counter.read_joule()
            calls = work(self.seconds)
            if not calls:
                return None
            used = counter.read_joule() - before - idle * (self.clock() - started)
        except OSError as error:
            return str(error)
        return Energy(used / calls, idle, counter.covers)

    def close(self) -> None:
        for counter in self.readers.values():
            if not isinstance(counter, str):
                counter.close()
