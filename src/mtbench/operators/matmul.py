"""Batched matrix product of two inputs."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Matmul(Operator):
    """out = a b, a product for each batch row.

    a: (batch, seq, embed), b: (batch, embed, out) -> (batch, seq, out). `out_dim` is `embed_dim` where it is not given.
    Both factors are inputs, so that neither can be laid out beforehand as the weight of `linear` is. Source: matmul of the
    array API, https://data-apis.org/array-api/latest/API_specification/generated/array_api.matmul.html.
    """

    embed_dim: Size = 768
    out_dim: Size | None = None

    @property
    def out_features(self) -> int:
        return self.out_dim or self.embed_dim

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        a = rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))
        # of variance 1/embed_dim, which keeps the products at unit scale
        b = rng.normal(scale=self.embed_dim**-0.5, size=(shape.batch_size, self.embed_dim, self.out_features))
        return {"a": a, "b": b}

    def flops(self, shape: Shape) -> float:
        return 2.0 * shape.batch_size * shape.seq_len * self.embed_dim * self.out_features

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        batch, seq, embed, out = shape.batch_size, shape.seq_len, self.embed_dim, self.out_features
        return array_bytes({"a": (batch, seq, embed), "b": (batch, embed, out), "out": (batch, seq, out)}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        a, b = inputs
        return a @ b

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda a, b: torch.bmm(a, b)

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda a, b: mx.matmul(a, b)
