"""The largest values of each row, and where they are."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators._axes import size_of, values_at
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size


@dataclass(frozen=True)
class TopK(Operator):
    """The k largest values along the features, and their indices, in any order.

    x: (batch, seq, embed) -> values and indices, (batch, seq, k) each. Neither their order nor the choice among equal values is
    prescribed. The check compares the sorted values, that each value is the one its index points to, and that no index occurs
    twice.

    torch: torch.topk without sorting; the variant `sorted` is its default. MLX's topk gives no indices, so it is argpartition
    and take_along_axis, as mlx-lm chooses experts. JAX: jax.lax.top_k, which sorts.
    """

    embed_dim: Size = 768
    k: Size = 8

    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.embed_dim:
            raise ConfigError(f"k={self.k} exceeds embed_dim={self.embed_dim}.")

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal(size_of(shape, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        return 1.0 * prod(
            size_of(shape, self.embed_dim)
        )  # a comparison for each value, without which none is known to be small

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        rows = shape.batch_size * shape.seq_len
        return float(rows * ((self.embed_dim + self.k) * ITEM_BYTES[dtype] + self.k * INDEX_BYTES))

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        (values, indices), (x,) = outputs, inputs
        ordered = np.sort(indices, axis=-1)
        distinct = 1 + np.count_nonzero(np.diff(ordered, axis=-1), axis=-1)
        return [np.sort(values, axis=-1), values - values_at(x, indices, -1), distinct]

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        indices = xp.argsort(x, axis=-1)[..., self.embed_dim - self.k :]
        return xp.take_along_axis(x, indices, axis=-1), indices

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        k = self.k
        return lambda x: tuple(torch.topk(x, k, sorted=False))

    def torch_sorted(self, w: SimpleNamespace) -> Call:
        import torch

        k = self.k
        return lambda x: tuple(torch.topk(x, k))

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        first = self.embed_dim - self.k

        def call(x: Any) -> Any:
            indices = mx.argpartition(x, kth=first, axis=-1)[..., first:]
            return mx.take_along_axis(x, indices, axis=-1), indices

        return call
