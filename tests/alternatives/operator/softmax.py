"""Other ways to write softmax."""

from types import SimpleNamespace

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "softmax")):
    def torch_other1(self, w: SimpleNamespace) -> Call:
        """method"""
        import torch

        return lambda x: torch.softmax(x, -1)

    def torch_other2(self, w: SimpleNamespace) -> Call:
        """written out"""
        import torch

        return lambda x: (e := torch.exp(x - x.amax(-1, keepdim=True))) / e.sum(-1, keepdim=True)

    def mlx_other1(self, w: SimpleNamespace) -> Call:
        """in its dtype"""
        import mlx.core as mx

        return lambda x: mx.softmax(x, axis=-1)

    def mlx_other2(self, w: SimpleNamespace) -> Call:
        """converted"""
        import mlx.core as mx

        return lambda x: mx.softmax(x.astype(mx.float32), axis=-1).astype(x.dtype)
