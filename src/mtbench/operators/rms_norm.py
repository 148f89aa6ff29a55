"""Root-mean-square normalisation over the last axis."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._layers import load_mlx, load_torch
from mtbench.operators.base import (
    Call,
    Dimensions,
    Host,
    Operator,
    Positive,
    Shape,
    Size,
    array_bytes,
    draw_weights,
    rows_of_all_sizes,
)


@dataclass(frozen=True)
class RmsNorm(Operator):
    """y = x / sqrt(mean(x^2) + eps) * weight, over the embedding axis.

    x: (batch, seq, embed) -> (batch, seq, embed); weight: (embed,). One fused call in both libraries, which take the mean
    in float32 whatever the dtype. Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """

    embed_dim: Size = 768
    eps: Positive = 1e-6

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def telling_inputs(self, rng: np.random.Generator, shape: Shape, dtype: str) -> dict[str, Host]:
        return {"x": rows_of_all_sizes(rng, (shape.batch_size, shape.seq_len, self.embed_dim), dtype)}

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {"weight": (self.embed_dim,)}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # per element: square, sum of squares, scaling by 1/sqrt(mean + eps), weight
        return 4.0 * shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + self.eps) * w.weight

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import rms_norm

        weight = w.weight
        return lambda x: rms_norm(x, weight.shape, weight, self.eps)

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        return load_torch(nn.RMSNorm(self.embed_dim, self.eps, device="meta"), w)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight = w.weight
        return lambda x: mx.fast.rms_norm(x, weight, self.eps)

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        return load_mlx(nn.RMSNorm(self.embed_dim, self.eps), vars(w))
