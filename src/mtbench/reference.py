"""The float64 reference: inputs rounded to a dtype, and the array-API namespace of NumPy that `portable` runs on.

Arrays are float64 here, except large ones, which are held in the narrowest type of NumPy's that has a dtype's values: 2^31 of
float16 are 4 GiB so, and 16 GiB in float64.
"""

from collections.abc import Callable, Iterator
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE_BYTES = 1 << 26
"""Of an array in float64: what is larger is drawn, rounded and compared in parts, and held in a narrower type."""

PART = 1 << 20
"""Values of a part."""

HELD = {"float32": np.float32, "float16": np.float16, "bfloat16": np.float32}


class Draws(np.random.Generator):
    """numpy.random.default_rng(seed), with the same values; large arrays of the continuous distributions are drawn in parts,
    and rounded to a dtype at once."""

    def __init__(self, seed: Any, dtype: str) -> None:
        super().__init__(np.random.PCG64(seed))
        self._dtype = dtype

    def standard_normal(self, size: Any = None, *others: Any, **named: Any) -> Any:
        return self._drawn(lambda part: super(Draws, self).standard_normal(part, *others, **named), size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return self._drawn(lambda part: super(Draws, self).normal(loc, scale, part), size, loc, scale)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return self._drawn(lambda part: super(Draws, self).uniform(low, high, part), size, low, high)

    def _drawn(self, draw: Callable[[Any], Any], size: Any, *parameters: Any) -> Any:
        shape = (size,) if isinstance(size, int) else size
        if shape is None or not is_large(shape) or any(map(np.ndim, parameters)) or self._dtype not in HELD:
            return draw(size)
        held = np.empty(prod(shape), HELD[self._dtype])
        for part in parts(held.size):
            held[part] = round_to(draw(part.stop - part.start), self._dtype)
        return held.reshape(shape)


def is_large(shape: tuple[int, ...]) -> bool:
    return prod(shape) * 8 > LARGE_BYTES


def parts(size: int) -> Iterator[slice]:
    return (slice(start, min(start + PART, size)) for start in range(0, size, PART))


def wide(values: NDArray[Any]) -> NDArray[Any]:
    """In float64, if it is not an array of integers or a mask."""
    return values.astype(np.float64, copy=False) if np.issubdtype(values.dtype, np.floating) else values


def array_namespace() -> SimpleNamespace:
    """NumPy's array-API functions, and `erf`, which the standard lacks and every framework has."""
    # not by dir(), which also names modules that NumPy imports when they are first looked at, in a third of a second
    names = {name: value for name, value in vars(np).items() if not name.startswith("_")}
    return SimpleNamespace(**names, erf=_erf)


def _erf(x: NDArray[Any]) -> Any:
    from scipy.special import erf

    return erf(x).astype(x.dtype, copy=False)  # of float16 it makes float64


def round_to(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values rounded to the nearest that a dtype has, ties to even, still held as float64, or in a narrower type where they
    came in one or are large; integers as they are.

    bfloat16 is the upper half of a float32, so it is rounded there, in integers.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return values
    if dtype in HELD and is_large(values.shape):
        held = np.empty(values.size, HELD[dtype])
        flat = values.reshape(-1)
        for part in parts(held.size):
            held[part] = _rounded(flat[part], dtype)
        return held.reshape(values.shape)
    return _rounded(values, dtype)


def _rounded(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype != "bfloat16":
        return values.astype(dtype).astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32)
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
