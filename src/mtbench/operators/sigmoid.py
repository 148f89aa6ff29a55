"""Logistic sigmoid."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)). x: (batch, seq, embed) -> (batch, seq, embed).

    Definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sigmoid.html.
    """

    def flops(self, shape: Shape) -> float:
        return 3.0 * self.elements(shape)  # exponential, sum, division

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        e = xp.exp(-xp.abs(x))  # of the negative alone, since exp(80) is beyond float16
        return xp.where(x > 0, xp.ones_like(x), e) / (1 + e)

    def torch(self, w: SimpleNamespace) -> Call:
        from torch import sigmoid

        call: Call = sigmoid
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.core import sigmoid

        call: Call = sigmoid
        return call
