"""Other ways to write ReLU."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "relu")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """clamped"""
        return lambda x: x.clamp_min(0)

    def torch_other2(self, w: SimpleNamespace) -> Call:
        """method"""
        import torch

        return lambda x: torch.relu(x)

    def mlx_other1(self, w: SimpleNamespace) -> Call:
        """maximum"""
        import mlx.core as mx

        return lambda x: mx.maximum(x, 0)
