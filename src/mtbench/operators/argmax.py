"""Index of the maximum along an axis."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import AxisOrAll, axis_index, size_of, without
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size

CEILING, PEAK = 4.0, 8.0


@dataclass(frozen=True)
class Argmax(Operator):
    """The index of the largest value along an axis: batch, seq, embed, or all (of the array laid out as one row).

    x: (batch, seq, embed) -> the same without that axis; the index of all is a scalar. Each row along the axis has one peak,
    drawn at random, above all its other values, so that a maximum is unique in every dtype. Source: argmax of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.argmax.html.
    """

    embed_dim: Size = 768
    axis: AxisOrAll = "embed"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size, axis = size_of(shape, self.embed_dim), axis_index(self.axis)
        x = np.minimum(rng.standard_normal(size), CEILING)
        if axis is None:
            x.flat[rng.integers(x.size)] = PEAK
        else:
            rows = tuple(1 if i == axis else length for i, length in enumerate(size))
            np.put_along_axis(x, rng.integers(size[axis], size=rows), PEAK, axis)
        return {"x": x}

    def flops(self, shape: Shape) -> float:
        return 1.0 * prod(size_of(shape, self.embed_dim))  # the comparisons

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = size_of(shape, self.embed_dim)
        return float(prod(size) * ITEM_BYTES[dtype] + prod(without(self.axis, size)) * INDEX_BYTES)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        axis = axis_index(self.axis)
        if axis is None:  # as one row: for axis=None NumPy gives a number and no array
            return xp.reshape(xp.argmax(xp.reshape(x, (1, -1)), axis=-1), ())
        return xp.argmax(x, axis=axis)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)

        return lambda x: torch.argmax(x, axis)

    def torch_max(self, w: SimpleNamespace) -> Call:
        """torch.max finds the indices, too: in 4/5 of the time on a GPU (H200), in half precision on a CPU in 1/4."""
        import torch

        axis = axis_index(self.axis)
        if axis is None:
            return lambda x: torch.max(x.flatten(), 0).indices
        return lambda x: torch.max(x, axis).indices

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x: mx.argmax(x, axis=axis)
