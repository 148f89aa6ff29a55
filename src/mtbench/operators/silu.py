"""Sigmoid linear unit, also called swish."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators._layers import in_portable
from mtbench.operators.base import Call, Shape
from mtbench.operators.sigmoid import Sigmoid


@dataclass(frozen=True)
class Silu(Elementwise):
    """y = x sigmoid(x) = x / (1 + exp(-x)). x: (batch, seq, embed) -> (batch, seq, embed).

    Source: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415, and, as swish, Ramachandran et al. 2017,
    https://arxiv.org/abs/1710.05941.
    """

    def flops(self, shape: Shape) -> float:
        return 3.0 * self.elements(shape)  # exponential, sum, division

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        sigmoid = in_portable(xp)(Sigmoid(self.embed_dim), w)
        return lambda x: x * sigmoid(x)

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import silu

        call: Call = silu
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import silu

        call: Call = silu
        return call
