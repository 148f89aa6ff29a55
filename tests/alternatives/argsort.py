"""Other ways to find the order of values."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "argsort")):
    torch_stable = registry.load("operator", "argsort").torch_stable

    def torch_of_sort(self, w: SimpleNamespace) -> Call:
        import torch

        axis = {"batch": 0, "seq": 1, "embed": 2}[self.axis]
        return lambda x: torch.sort(x, dim=axis).indices
