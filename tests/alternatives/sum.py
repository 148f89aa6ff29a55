"""Other ways to write a sum."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "sum")):
    def torch_product(self, w: SimpleNamespace) -> Call:
        import torch

        # along embed alone
        return lambda x: (x @ torch.ones(self.embed_dim, 1, dtype=x.dtype, device=x.device))[..., 0]

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        axis = {"batch": 0, "seq": 1, "embed": 2, "all": None}[self.axis]
        return lambda x: mx.sum(x.astype(mx.float32), axis=axis).astype(x.dtype)

    def mlx_product(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        # along embed alone
        return lambda x: (x @ mx.ones((self.embed_dim, 1), dtype=x.dtype))[..., 0]
