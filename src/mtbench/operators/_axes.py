"""The axes of a batch of sequences, by name, for the operators that work along one of them."""

from abc import ABC
from dataclasses import dataclass
from math import log2, prod
from typing import Any, Literal

import numpy as np

from mtbench.operators.base import Dimensions, Host, Operator, Shape, Size

Axis = Literal["batch", "seq", "embed"]
AxisOrAll = Literal["batch", "seq", "embed", "all"]
"""`all` is every element of the array, as one row."""


def axis_index(axis: AxisOrAll) -> int | None:
    """The number of the axis, as the libraries take it; None for `all`."""
    return {"batch": 0, "seq": 1, "embed": 2, "all": None}[axis]


def size_of(shape: Shape, embed_dim: int) -> Dimensions:
    return (shape.batch_size, shape.seq_len, embed_dim)


def without(axis: AxisOrAll, size: Dimensions) -> Dimensions:
    """The size without this axis; () for `all`."""
    index: Any = axis_index(axis)
    return () if index is None else (*size[:index], *size[index + 1 :])


def values_at(x: Host, indices: Host, axis: int) -> Host:
    """The values that indices along an axis point to. An index outside of the axis gives NaN, which equals nothing."""
    valid = (indices >= 0) & (indices < x.shape[axis]) & (indices == np.floor(indices))
    found = np.take_along_axis(x, np.where(valid, indices, 0).astype(np.int64), axis)
    return found if valid.all() else np.where(valid, found, np.nan)


@dataclass(frozen=True)
class Sorting(Operator, ABC):
    """Operators that sort along an axis. x: (batch, seq, embed), any values; n log2 n comparisons for n values."""

    embed_dim: Size = 768
    axis: Axis = "embed"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal(size_of(shape, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        # a sort by comparisons needs that many; a radix sort makes none
        size = size_of(shape, self.embed_dim)
        return prod(size) * log2(size[axis_index(self.axis) or 0])
