"""Other ways to write a product."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "matmul")):
    def torch_matmul(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda a, b: torch.matmul(a, b)

    def torch_einsum(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda a, b: torch.einsum("bik,bkj->bij", a, b)

    def torch_two_axes(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda a, b: torch.mm(a[0], b[0]).unsqueeze(0) if len(a) == 1 else torch.bmm(a, b)

    def mlx_einsum(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda a, b: mx.einsum("bik,bkj->bij", a, b)

    def mlx_two_axes(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda a, b: mx.matmul(a[0], b[0])[None] if len(a) == 1 else mx.matmul(a, b)
