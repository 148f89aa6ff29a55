"""Other ways to write ReLU."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "relu")):
    def torch_clamped(self, w: SimpleNamespace) -> Call:
        return lambda x: x.clamp_min(0)

    def torch_method(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.relu(x)

    def mlx_maximum(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda x: mx.maximum(x, 0)
