"""Other ways to write an embedding."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "embedding")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """indexed"""
        return lambda ids: w.weight[ids]

    def torch_other2(self, w: SimpleNamespace) -> Call:
        """index select"""
        import torch

        return lambda ids: torch.index_select(w.weight, 0, ids.flatten()).unflatten(0, ids.shape)

    def mlx_other1(self, w: SimpleNamespace) -> Call:
        """take"""
        import mlx.core as mx

        return lambda ids: mx.take(w.weight, ids, axis=0)
