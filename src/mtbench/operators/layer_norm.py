"""Layer normalisation over the last axis."""

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
class LayerNorm(Operator):
    """y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, over the embedding axis; var is the biased variance.

    x: (batch, seq, embed) -> (batch, seq, embed); weight, bias: (embed,). Without `bias`, the last term is left out.
    One fused kernel in both libraries. Source: Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450.
    """

    embed_dim: Size = 768
    eps: Positive = 1e-5
    bias: bool = True

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def telling_inputs(self, rng: np.random.Generator, shape: Shape, dtype: str) -> dict[str, Host]:
        return {"x": rows_of_all_sizes(rng, (shape.batch_size, shape.seq_len, self.embed_dim), dtype)}

    def weight_shapes(self) -> dict[str, Dimensions]:
        names = ("weight", "bias") if self.bias else ("weight",)
        return dict.fromkeys(names, (self.embed_dim,))

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # per element: sum, subtraction, square, sum of squares, scaling by 1/sqrt(var + eps), weight, and bias if any
        return (6.0 + self.bias) * shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        out = centred / xp.sqrt(variance + self.eps) * w.weight
        return out + w.bias if self.bias else out

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import layer_norm

        weight, bias = w.weight, getattr(w, "bias", None)
        return lambda x: layer_norm(x, weight.shape, weight, bias, self.eps)

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        return load_torch(nn.LayerNorm(self.embed_dim, self.eps, bias=self.bias, device="meta"), w)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight, bias = w.weight, getattr(w, "bias", None)
        return lambda x: mx.fast.layer_norm(x, weight, bias, self.eps)

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        return load_mlx(nn.LayerNorm(self.embed_dim, self.eps, bias=self.bias), vars(w))
