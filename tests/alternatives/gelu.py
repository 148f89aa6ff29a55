"""Other ways to write GELU."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "gelu")):
    def torch_module(self, w: SimpleNamespace) -> Call:
        from torch import nn

        return nn.GELU(approximate=self.approximate)

    def mlx_module(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        return nn.GELU("none" if self.approximate == "none" else "tanh")
