"""Softmax over the last axis."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Softmax(Operator):
    """softmax(x)_i = exp(x_i) / sum_j exp(x_j), over the embedding axis.

    x: (batch, seq, embed) -> (batch, seq, embed). Both libraries subtract the row's maximum first, sum in float32 whatever
    the dtype, and have one kernel for it all.
    """

    embed_dim: Size = 768

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        # maximum, subtraction, exponential, sum, division: one each per element
        return 5.0 * shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import softmax

        return lambda x: softmax(x, dim=-1)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        # By default MLX sums in x's dtype: in bfloat16 on the CPU, a row of 768 comes out 25 % wrong. torch sums in float32.
        return lambda x: mx.softmax(x, axis=-1, precise=True)

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        """All of x converted, and back: on a CPU in half the time that `precise` takes."""
        import mlx.core as mx

        return lambda x: mx.softmax(x.astype(mx.float32), axis=-1).astype(x.dtype)
