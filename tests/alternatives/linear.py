"""Other ways to write a linear projection."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "linear")):
    def torch_addmm(self, w: SimpleNamespace) -> Call:
        import torch

        weight = w.weight.T
        return lambda x: torch.addmm(w.bias, x.flatten(0, -2), weight).unflatten(0, x.shape[:-1])

    def torch_matmul(self, w: SimpleNamespace) -> Call:
        import torch

        weight = w.weight.T
        return lambda x: torch.matmul(x, weight) + w.bias

    def torch_laid_out(self, w: SimpleNamespace) -> Call:
        import torch

        weight = w.weight.T.contiguous()
        return lambda x: torch.addmm(w.bias, x.flatten(0, -2), weight).unflatten(0, x.shape[:-1])

    def mlx_addmm(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight = w.weight.T
        return lambda x: mx.addmm(w.bias, x, weight)

    def mlx_matmul(self, w: SimpleNamespace) -> Call:
        weight = w.weight.T
        return lambda x: x @ weight + w.bias

    def mlx_laid_out(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight = mx.contiguous(w.weight.T)
        mx.eval(weight)
        return lambda x: mx.addmm(w.bias, x, weight)
