"""Sorting along an axis."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._axes import Sorting, axis_index, size_of
from mtbench.operators.base import Call, Shape, array_bytes


@dataclass(frozen=True)
class Sort(Sorting):
    """The values in ascending order along an axis: batch, seq or embed.

    x: (batch, seq, embed) -> the same. Only the values are returned; torch.sort makes their indices too, and has no form
    without. Source: sort of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.sort.html.
    """

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = size_of(shape, self.embed_dim)
        return array_bytes({"x": x, "out": x}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.sort(x, axis=axis_index(self.axis))

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        return lambda x: torch.sort(x, dim=axis).values

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x: mx.sort(x, axis=axis)
