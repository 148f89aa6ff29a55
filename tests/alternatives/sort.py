"""Other ways to write a sort."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "sort")):
    def torch_stable(self, w: SimpleNamespace) -> Call:
        import torch

        axis = {"batch": 0, "seq": 1, "embed": 2}[self.axis]
        return lambda x: torch.sort(x, dim=axis, stable=True).values

    def torch_msort(self, w: SimpleNamespace) -> Call:
        import torch

        axis = {"batch": 0, "seq": 1, "embed": 2}[self.axis]
        return lambda x: torch.msort(x.movedim(axis, 0)).movedim(0, axis)
