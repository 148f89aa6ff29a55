"""Other ways to write layer norm."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "layer_norm")):
    def torch_written_out(self, w: SimpleNamespace) -> Call:
        import torch

        bias = w.bias

        def call(x: Any) -> Any:
            var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
            return (x - mean) * torch.rsqrt(var + self.eps) * w.weight + bias

        return call

    def torch_module(self, w: SimpleNamespace) -> Call:
        from torch import nn

        module = nn.LayerNorm(self.embed_dim, self.eps, device="meta")
        module.load_state_dict(vars(w), assign=True)
        return module

    def mlx_module(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        module = nn.LayerNorm(self.embed_dim, self.eps)
        module.load_weights(list(vars(w).items()))
        return module
