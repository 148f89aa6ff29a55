"""Linear projection of the last axis."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._layers import load_mlx, load_torch
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes, draw_weights


@dataclass(frozen=True)
class Linear(Operator):
    """y = x weight^T + bias.

    x: (batch, seq, embed) -> (batch, seq, out); weight: (out, embed), bias: (out,). `out_dim` is `embed_dim` where it is
    not given. Product and bias are one call in both libraries (torch.nn.functional.linear, mlx.core.addmm).
    """

    embed_dim: Size = 768
    out_dim: Size | None = None
    bias: bool = True

    @property
    def out_features(self) -> int:
        return self.out_dim or self.embed_dim

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def weight_shapes(self) -> dict[str, Dimensions]:
        bias = {"bias": (self.out_features,)} if self.bias else {}
        return {"weight": (self.out_features, self.embed_dim), **bias}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # the matrix product alone, as is usual: one multiply-add per output element and input feature
        return 2.0 * shape.batch_size * shape.seq_len * self.embed_dim * self.out_features

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        rows = (shape.batch_size, shape.seq_len)
        return array_bytes(
            {"x": (*rows, self.embed_dim), "out": (*rows, self.out_features)} | self.weight_shapes(), dtype
        )

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        out = x @ w.weight.T
        return out + w.bias if self.bias else out

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import linear

        weight, bias = w.weight, getattr(w, "bias", None)
        return lambda x: linear(x, weight, bias)

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        return load_torch(nn.Linear(self.embed_dim, self.out_features, self.bias, device="meta"), w)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        transposed, bias = w.weight.T, getattr(w, "bias", None)
        mx.eval(transposed)
        if bias is None:
            return lambda x: x @ transposed
        return lambda x: mx.addmm(bias, x, transposed)

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        return load_mlx(nn.Linear(self.embed_dim, self.out_features, self.bias), vars(w))
