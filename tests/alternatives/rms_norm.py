"""Other ways to write RMS norm."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "rms_norm")):
    def torch_written_out(self, w: SimpleNamespace) -> Call:
        import torch

        def call(x: Any) -> Any:
            wide = x.float()
            return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * w.weight

        return call

    def torch_private_kernel(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda x: torch.ops.aten._fused_rms_norm(x, [self.embed_dim], w.weight, self.eps)[0]

    def mlx_written_out(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def call(x: Any) -> Any:
            wide = x.astype(mx.float32)
            return (wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + self.eps)).astype(x.dtype) * w.weight

        return call
