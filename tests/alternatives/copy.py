"""Other ways to write a copy."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "copy")):
    def torch_filled(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.empty_like(x).copy_(x)

    def torch_converted(self, w: SimpleNamespace) -> Call:
        return lambda x: x.to(x.dtype, copy=True)

    def torch_joined(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.cat((x,))

    def torch_multiplied(self, w: SimpleNamespace) -> Call:
        return lambda x: x * 1

    def torch_repeated(self, w: SimpleNamespace) -> Call:
        return lambda x: x.repeat(1, 1, 1)

    def mlx_multiplied(self, w: SimpleNamespace) -> Call:
        return lambda x: x * 1
