"""Sum along an axis."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import Unsupported
from mtbench.operators._axes import AxisOrAll, axis_index, size_of, without
from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes

MEAN = 4.0


@dataclass(frozen=True)
class Sum(Operator):
    """The sum of the values along an axis: batch, seq, embed, or all.

    x: (batch, seq, embed) -> the same without that axis; the sum of all is a scalar. Values are normal around 4 / sqrt(n), n
    being how many are summed. So no sum is near 0, where its relative error would be chance, and none is beyond float16.
    Source: sum of the array API, https://data-apis.org/array-api/latest/API_specification/generated/array_api.sum.html.
    """

    embed_dim: Size = 768
    axis: AxisOrAll = "embed"

    independent_rows = False

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size = size_of(shape, self.embed_dim)
        summed = prod(size) // prod(without(self.axis, size))
        return {"x": rng.normal(loc=MEAN * summed**-0.5, size=size)}

    def flops(self, shape: Shape) -> float:
        return 1.0 * prod(size_of(shape, self.embed_dim))

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = size_of(shape, self.embed_dim)
        return array_bytes({"x": size, "out": without(self.axis, size)}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        axis = axis_index(self.axis)
        if axis is None:  # as one row: for axis=None NumPy gives a number and no array
            return xp.reshape(xp.sum(xp.reshape(x, (1, -1)), axis=-1), ())
        return xp.sum(x, axis=axis)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        axis = axis_index(self.axis)
        if axis is None:
            return lambda x: torch.sum(x)
        return lambda x: torch.sum(x, axis)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x: mx.sum(x, axis=axis)

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        """MLX's kernels for GPUs sum in x's dtype (mlx/backend/metal/kernels/reduction), torch's in float32: bfloat16's 8 bits
        are good for rows of some thousands."""
        import mlx.core as mx

        axis = axis_index(self.axis)
        return lambda x: mx.sum(x.astype(mx.float32), axis=axis).astype(x.dtype)

    def mlx_rows_first(self, w: SimpleNamespace) -> Call:
        """For axis=all: sums the rows, then their sums. Added one after the other, as MLX does on the CPU, 1.5 million float32
        are 2e-5 wrong."""
        import mlx.core as mx

        if self.axis != "all":
            raise Unsupported("operator.variant=rows_first is a way to sum all; give operator.params.axis=all.")
        return lambda x: mx.sum(mx.sum(x, axis=-1))
