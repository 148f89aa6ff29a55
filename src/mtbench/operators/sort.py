"""Sorting along an axis."""

from dataclasses import dataclass
from math import log2, prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import Axis, axis_index, size_of
from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Sort(Operator):
    """The values in ascending order along an axis: batch, seq or embed.

    x: (batch, seq, embed) -> the same. Only the values are returned; torch.sort makes their indices too, and has no form
    without. Source: sort of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.sort.html.
    """

    embed_dim: Size = 768
    axis: Axis = "embed"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal(size_of(shape, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        # n log2 n comparisons for n values, which no sort by comparison does without; a radix sort makes none
        size = size_of(shape, self.embed_dim)
        return prod(size) * log2(size[axis_index(self.axis) or 0])

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
