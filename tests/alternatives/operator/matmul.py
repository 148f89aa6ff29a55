"""Other ways to write a product."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "matmul")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """matmul"""
        import torch

        return lambda a, b: torch.matmul(a, b)

    def torch_other2(self, w: SimpleNamespace) -> Call:
        """einsum"""
        import torch

        return lambda a, b: torch.einsum("bik,bkj->bij", a, b)

    def torch_other3(self, w: SimpleNamespace) -> Call:
        """two axes"""
        import torch

        return lambda a, b: torch.mm(a[0], b[0]).unsqueeze(0) if len(a) == 1 else torch.bmm(a, b)

    def mlx_other1(self, w: SimpleNamespace) -> Call:
        """einsum"""
        import mlx.core as mx

        return lambda a, b: mx.einsum("bik,bkj->bij", a, b)

    def mlx_other2(self, w: SimpleNamespace) -> Call:
        """two axes"""
        import mlx.core as mx

        return lambda a, b: mx.matmul(a[0], b[0])[None] if len(a) == 1 else mx.matmul(a, b)
