"""A framework as a user would add one: NumPy under another name, lazily evaluated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.frameworks.base import Call, Description, Framework, Settings, leaves
from mtbench.reference import array_namespace


class Plain(Framework):
    library = "plain"

    def __init__(self, settings: Settings) -> None:
        self.xp = array_namespace()
        self.wait = self.submit

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        return host.astype(dtype)

    def host(self, out: Any) -> NDArray[np.float64]:
        return np.asarray(out, dtype=np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, np.ndarray)

    def compile(self, call: Call) -> Call:
        return call

    def null(self) -> Call:
        return lambda: None

    def describe(self) -> Description:
        return Description("plain", "1.0", "cpu", "cpu", "cpu", 1, None, "process", {})
