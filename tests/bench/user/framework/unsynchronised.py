"""A device that computes behind the caller's back, and a `wait` that does not wait for it."""

import queue
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.frameworks.base import Call, Description, Framework, Settings, leaves
from mtbench.reference import array_namespace


class Unsynchronised(Framework):
    library = "unsynchronised"

    def __init__(self, settings: Settings) -> None:
        self.xp = array_namespace()
        self.work: queue.Queue[float] = queue.Queue()
        threading.Thread(target=self._device, daemon=True).start()
        self.wait = lambda out: None if out is None else self.work.put(0.002)

    def _device(self) -> None:
        while True:
            time.sleep(self.work.get())
            self.work.task_done()

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        return host.astype(dtype)

    def host(self, out: Any) -> NDArray[np.float64]:
        return np.asarray(out, dtype=np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, np.ndarray)

    def compile(self, call: Call) -> Call:
        return call

    def settle(self, out: Any) -> None:
        self.work.join()

    def null(self) -> Call:
        return lambda: None

    def describe(self) -> Description:
        return Description("unsynchronised", "1.0", "cpu", "cpu", "cpu", 1, None, "process", {})
