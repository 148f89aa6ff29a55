"""Gather along an axis by an index for each element."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._axes import Axis, axis_index, size_of
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size


@dataclass(frozen=True)
class Gather(Operator):
    """Along seq, out[b, i, e] = x[b, index[b, i, e], e]; along batch or embed likewise.

    x: (batch, seq, embed), index: the same shape, of uniformly random positions along `axis` -> out of that shape. This is
    torch.gather and ONNX's GatherElements; whole rows by one index each, which ONNX calls Gather, are what `embedding` takes.
    Source: take_along_axis of the array API,
    https://data-apis.org/array-api/latest/API_specification/generated/array_api.take_along_axis.html.
    """

    embed_dim: Size = 768
    axis: Axis = "seq"

    independent_rows = False
    exact = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size = size_of(shape, self.embed_dim)
        length = size[axis_index(self.axis) or 0]
        return {"x": rng.standard_normal(size), "index": rng.integers(length, size=size)}

    def flops(self, shape: Shape) -> float:
        return 0.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return float(prod(size_of(shape, self.embed_dim)) * (2 * ITEM_BYTES[dtype] + INDEX_BYTES))

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        x, index = inputs
        return xp.take_along_axis(x, index, axis=axis_index(self.axis))

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        return lambda x, index: torch.gather(x, axis, index)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x, index: mx.take_along_axis(x, index, axis=axis)
