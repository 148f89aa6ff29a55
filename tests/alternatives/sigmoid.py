"""Other ways to write the logistic function."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "sigmoid")):
    def torch_functional(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        return lambda x: F.sigmoid(x)

    def mlx_other(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx
        from mlx import nn

        return (lambda x: mx.sigmoid(x)) if self.mlx(w) is nn.sigmoid else nn.sigmoid
