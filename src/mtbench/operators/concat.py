"""Concatenation of two arrays."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import Axis, axis_index, size_of
from mtbench.operators.base import ITEM_BYTES, Call, Host, Operator, Shape, Size


@dataclass(frozen=True)
class Concat(Operator):
    """out = a, then b, along an axis.

    a and b: (batch, seq, embed) -> the same, twice as long along `axis`: batch, seq or embed. Source: concat of the array
    API, https://data-apis.org/array-api/latest/API_specification/generated/array_api.concat.html.
    """

    embed_dim: Size = 768
    axis: Axis = "seq"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {name: rng.standard_normal(size_of(shape, self.embed_dim)) for name in ("a", "b")}

    def flops(self, shape: Shape) -> float:
        return 0.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        # two arrays in, and as much out
        return 4.0 * prod(size_of(shape, self.embed_dim)) * ITEM_BYTES[dtype]

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return xp.concat(list(inputs), axis=axis_index(self.axis))

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        return lambda a, b: torch.cat((a, b), axis)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda a, b: mx.concatenate([a, b], axis=axis)
