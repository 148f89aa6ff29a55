"""Other ways to write softmax."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "softmax")):
    def torch_method(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.softmax(x, -1)

    def torch_written_out(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: (e := torch.exp(x - x.amax(-1, keepdim=True))) / e.sum(-1, keepdim=True)

    def mlx_in_its_dtype(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda x: mx.softmax(x, axis=-1)

    mlx_in_float32 = registry.load("operator", "softmax").mlx_in_float32
