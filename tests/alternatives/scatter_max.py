"""Other ways to write a scatter with maximum."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "scatter_max")):
    def torch_index_reduce(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda base, index, updates: torch.index_reduce(base, 0, index, updates, "amax")
