"""Sleep: keeps a Mac awake while it measures, and notices on any system if the machine slept anyway.

`time.monotonic` and `perf_counter` stand still in sleep, so that neither a budget nor a timeout fires, and a Mac that wakes in
the dark for some seconds runs on at whatever speed that has.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

NOTICED_S = 1.0
"""A shorter gap is not sleep, but a clock that was set, or read late."""

CAFFEINATE = "/usr/bin/caffeinate"


@contextmanager
def kept_awake(system: str = sys.platform) -> Iterator[str | None]:
    """Keeps a Mac from falling asleep for as long as this holds; gives the reason where that fails.

    caffeinate(8): -i no idle sleep, -m no sleep of the disk, -w ends with this process, whatever becomes of it. The display may
    sleep: heavy Metal work beside an active one has ended in watchdog panics. A closed lid cannot be prevented from here.
    Other systems do not fall asleep while a program is busy, or their owner can set them not to.
    """
    if system != "darwin":
        yield None
        return
    try:
        caffeinate = subprocess.Popen(
            [CAFFEINATE, "-i", "-m", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches us only
        )
    except OSError as error:
        yield f"this Mac may fall asleep while it measures: caffeinate does not start ({error.strerror})"
        return
    try:
        yield None
    finally:
        caffeinate.terminate()
        with suppress(subprocess.TimeoutExpired):
            caffeinate.wait(timeout=2)


def clocks() -> tuple[Callable[[], float], Callable[[], float]]:
    """Two clocks, in seconds, of which only the first goes on in sleep.

    Linux and macOS have such a pair (clock_gettime(2) and (3)); elsewhere the wall clock has to do, which may be set.
    """
    pairs = (("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"), ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"))
    for going, standing in pairs:
        if hasattr(time, going) and hasattr(time, standing):
            return partial(time.clock_gettime, getattr(time, going)), partial(
                time.clock_gettime, getattr(time, standing)
            )
    return time.time, time.monotonic


class SleepClock:
    """How long the machine has slept."""

    def __init__(self, pair: tuple[Callable[[], float], Callable[[], float]] | None = None) -> None:
        self.going, self.standing = pair or clocks()
        self.before = self._ahead()

    def slept_s(self) -> float:
        """Seconds of sleep since this was asked before; 0 where it is too little to be sleep."""
        before, self.before = self.before, self._ahead()
        slept = self.before - before
        return slept if slept >= NOTICED_S else 0.0

    def _ahead(self) -> float:
        return self.going() - self.standing()
