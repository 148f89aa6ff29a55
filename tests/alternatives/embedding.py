"""Other ways to write an embedding."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "embedding")):
    def torch_indexed(self, w: SimpleNamespace) -> Call:
        return lambda ids: w.weight[ids]

    def torch_index_select(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda ids: torch.index_select(w.weight, 0, ids.flatten()).unflatten(0, ids.shape)

    mlx_flattened = registry.load("operator", "embedding").mlx_flattened

    def mlx_take(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda ids: mx.take(w.weight, ids, axis=0)
