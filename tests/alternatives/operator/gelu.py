"""Other ways to write GELU."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "gelu")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """module"""
        from torch import nn

        return nn.GELU(approximate=self.approximate)

    def mlx_other1(self, w: SimpleNamespace) -> Call:
        """module"""
        from mlx import nn

        return nn.GELU("none" if self.approximate == "none" else "tanh")
