"""The axes of a batch of sequences, by name, for the operators that work along one of them."""

from typing import Any, Literal

import numpy as np

from mtbench.operators.base import Dimensions, Host, Shape

Axis = Literal["batch", "seq", "embed"]
AxisOrAll = Literal["batch", "seq", "embed", "all"]
"""`all` is every element of the array, as one row."""


def axis_index(axis: AxisOrAll) -> int | None:
    """What the libraries call the axis; None for all of them."""
    return {"batch": 0, "seq": 1, "embed": 2, "all": None}[axis]


def size_of(shape: Shape, embed_dim: int) -> Dimensions:
    return (shape.batch_size, shape.seq_len, embed_dim)


def without(axis: AxisOrAll, size: Dimensions) -> Dimensions:
    """A shape without an axis, or without any."""
    index: Any = axis_index(axis)
    return () if index is None else (*size[:index], *size[index + 1 :])


def values_at(x: Host, indices: Host, axis: int) -> Host:
    """The values that indices along an axis point to; NaN, which equals nothing, where an index is none of the axis."""
    valid = (indices >= 0) & (indices < x.shape[axis]) & (indices == np.floor(indices))
    found = np.take_along_axis(x, np.where(valid, indices, 0).astype(np.int64), axis)
    return found if valid.all() else np.where(valid, found, np.nan)
