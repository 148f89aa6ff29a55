"""Other ways to write a gather."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "gather")):
    def torch_along_dim(self, w: SimpleNamespace) -> Call:
        import torch

        axis = {"batch": 0, "seq": 1, "embed": 2}[self.axis]
        return lambda x, index: torch.take_along_dim(x, index, axis)
