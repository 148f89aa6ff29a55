"""Other ways to write a scatter with addition."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "scatter_add")):
    torch_scatter = registry.load("operator", "scatter_add").torch_scatter

    def torch_index_put(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda base, index, updates: torch.index_put(base, (index,), updates, accumulate=True)
