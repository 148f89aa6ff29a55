"""Other ways to write PReLU."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "prelu")):
    def torch_where(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.where(x > 0, x, w.weight * x)

    def mlx_where(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda x: mx.where(x > 0, x, w.weight * x)
