"""Other ways to write argmax."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "argmax")):
    def torch_argmax(self, w: SimpleNamespace) -> Call:
        import torch

        axis = {"batch": 0, "seq": 1, "embed": 2}[self.axis]
        return lambda x: torch.argmax(x, axis)
