"""Other ways to write the gated MLP."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "swiglu_mlp")):
    def torch_stacked(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.nn import functional as F

        gate, up, down = (vars(w)[f"{name}_proj.weight"] for name in ("gate", "up", "down"))
        both = torch.cat((gate, up))

        def call(x: Any) -> Any:
            gated, passed = F.linear(x, both).chunk(2, dim=-1)
            return F.linear(F.silu(gated) * passed, down)

        return call

    def mlx_two_products(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        gate, up, down = (vars(w)[f"{name}_proj.weight"].T for name in ("gate", "up", "down"))
        return lambda x: (nn.silu(x @ gate) * (x @ up)) @ down

    def mlx_stacked(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx
        from mlx import nn

        gate, up, down = (vars(w)[f"{name}_proj.weight"] for name in ("gate", "up", "down"))
        both = mx.concatenate([gate, up])
        mx.eval(both)

        def call(x: Any) -> Any:
            gated, passed = mx.split(x @ both.T, 2, axis=-1)
            return (nn.silu(gated) * passed) @ down.T

        return call
