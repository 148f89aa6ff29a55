"""Other ways to find the largest values."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "top_k")):
    torch_sorted = registry.load("operator", "top_k").torch_sorted

    def torch_by_sorting(self, w: SimpleNamespace) -> Call:
        import torch

        first = self.embed_dim - self.k
        return lambda x: tuple(each[..., first:] for each in torch.sort(x, dim=-1))

    def mlx_by_sorting(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        first = self.embed_dim - self.k

        def call(x: Any) -> Any:
            indices = mx.argsort(x, axis=-1)[..., first:]
            return mx.take_along_axis(x, indices, axis=-1), indices

        return call
