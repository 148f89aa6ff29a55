"""What frameworks share that keep arrays in the host's memory, as NumPy does, and compute before they return."""

from abc import ABC
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtbench.frameworks.base import Framework, leaves


class HostArray(np.ndarray[Any, Any]):
    """Values on the host, which know the dtype that they stand for (NumPy has no bfloat16) and their framework's setup."""

    stands_for: str
    setup: Any

    def __array_finalize__(self, obj: Any) -> None:
        self.stands_for = getattr(obj, "stands_for", "float32")
        self.setup = getattr(obj, "setup", None)

    @classmethod
    def of(cls, host: NDArray[Any], dtype: str, setup: Any) -> "HostArray":
        """A copy: floats as float32, indices as int32, masks as they are."""
        floating = np.issubdtype(host.dtype, np.floating)
        array = host.astype(np.float32 if floating else np.int32 if host.dtype != np.bool_ else np.bool_).view(cls)
        array.stands_for, array.setup = dtype, setup
        return array


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
