"""What frameworks share whose arrays lie in the host's memory as NumPy's do, and that compute before they return."""

from abc import ABC
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtbench.frameworks.base import Framework, leaves


class HostArrays(Framework, ABC):
    """`array_type` is what the outputs of a call must be."""

    array_type: ClassVar[type[np.ndarray[Any, Any]]] = np.ndarray

    def host(self, out: Any) -> NDArray[np.float64]:
        return np.asarray(out, dtype=np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, self.array_type)

    def copy(self, array: Any) -> Any:
        return array.copy()

    def overwrite(self, array: Any, values: Any) -> Any:
        array[...] = values
        return array

    def stored_whole(self, array: Any) -> bool:
        return all(stride or side < 2 for stride, side in zip(array.strides, array.shape, strict=True))

    def same(self, one: Any, other: Any) -> bool:
        return bool(np.may_share_memory(one, other))
