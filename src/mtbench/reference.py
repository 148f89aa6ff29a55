"""The float64 reference: inputs rounded to a dtype, and the array-API namespace of NumPy that `portable` runs on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_namespace() -> SimpleNamespace:
    """NumPy's array-API functions, and `erf`, which the standard lacks and every framework has."""
    # not by dir(), which also names modules that NumPy imports when they are first looked at, in a third of a second
    names = {name: value for name, value in vars(np).items() if not name.startswith("_")}
    return SimpleNamespace(**names, erf=_erf)


def _erf(x: NDArray[Any]) -> Any:
    from scipy.special import erf

    return erf(x)


def round_to(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values rounded to the nearest that a dtype has, ties to even, still held as float64; integers as they are.

    bfloat16 is the upper half of a float32, so it is rounded there, in integers.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return values
    if dtype != "bfloat16":
        return values.astype(dtype).astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32)
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
