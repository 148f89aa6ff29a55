"""The time that a sweep may take."""

import math
import time

from mtbench import interrupts
from mtbench.plan.progress import Progress


class Deadline:
    """`protocol.stop_after` seconds from now; 0 is no limit."""

    def __init__(self, seconds: float, progress: Progress) -> None:
        self.seconds = seconds
        self.progress = progress
        self.ends_at = time.monotonic() + seconds if seconds > 0 else math.inf

    def check(self) -> None:
        """Raises KeyboardInterrupt where the time is over, or a signal came that has not taken effect yet."""
        interrupts.check()
        if time.monotonic() > self.ends_at:
            self.progress.warn(f"the sweep ends here, after protocol.stop_after={self.seconds:g} s")
            raise KeyboardInterrupt
