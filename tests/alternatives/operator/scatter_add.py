"""Other ways to write a scatter with addition."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "scatter_add")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """scatter"""
        import torch

        return lambda base, index, updates: torch.scatter_add(base, 0, index[:, None].expand_as(updates), updates)

    def torch_other2(self, w: SimpleNamespace) -> Call:
        """index put"""
        import torch

        return lambda base, index, updates: torch.index_put(base, (index,), updates, accumulate=True)
