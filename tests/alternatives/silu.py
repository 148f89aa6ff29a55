"""Other ways to write SiLU."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "silu")):
    def torch_product(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: x * torch.sigmoid(x)

    def mlx_product(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda x: x * mx.sigmoid(x)
