"""Other ways to write leaky ReLU."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "leaky_relu")):
    def torch_maximum(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.maximum(x, x * self.negative_slope)

    def mlx_maximum(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda x: mx.maximum(x, x * self.negative_slope)
