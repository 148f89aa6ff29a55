"""The order of the values along an axis."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import Sorting, axis_index, size_of, values_at
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Shape


@dataclass(frozen=True)
class Argsort(Sorting):
    """The indices that put the values into ascending order along an axis: batch, seq or embed.

    x: (batch, seq, embed) -> indices, the same shape. In half precision many values are equal, and may come in any order. So
    the check compares the values that the indices point to, and that each index occurs once. Source: argsort of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.argsort.html. `stable`, a variant in torch,
    keeps equal values in their order.
    """

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
