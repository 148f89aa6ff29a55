"""The order of the values along an axis."""

from dataclasses import dataclass
from math import log2, prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import Axis, axis_index, size_of, values_at
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size


@dataclass(frozen=True)
class Argsort(Operator):
    """The indices that put the values into ascending order along an axis: batch, seq or embed.

    x: (batch, seq, embed) -> indices, the same shape. In half precision many values are equal, and may come in any order:
    compared are the values that the indices point to, and that each index is there once. Source: argsort of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.argsort.html. `stable`, a variant in torch,
    keeps equal values in their order.
    """

    embed_dim: Size = 768
    axis: Axis = "embed"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal(size_of(shape, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        # as of `sort`
        size = size_of(shape, self.embed_dim)
        return prod(size) * log2(size[axis_index(self.axis) or 0])

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return float(prod(size_of(shape, self.embed_dim)) * (ITEM_BYTES[dtype] + INDEX_BYTES))

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        (indices,), (x,) = outputs, inputs
        axis = axis_index(self.axis) or 0
        return [values_at(x, indices, axis), np.sort(indices, axis=axis).astype(np.int64)]

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.argsort(x, axis=axis_index(self.axis))

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        return lambda x: torch.argsort(x, dim=axis)

    def torch_stable(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        return lambda x: torch.argsort(x, dim=axis, stable=True)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x: mx.argsort(x, axis=axis)
