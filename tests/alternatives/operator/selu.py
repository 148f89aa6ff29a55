"""Other ways to write SELU."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "selu")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """method"""
        import torch

        return lambda x: torch.selu(x)
