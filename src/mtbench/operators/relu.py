"""Rectified linear unit."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape


@dataclass(frozen=True)
class Relu(Elementwise):
    """y = max(x, 0). x: (batch, seq, embed) -> (batch, seq, embed).

    Source: Nair and Hinton 2010, https://www.cs.toronto.edu/~fritz/absps/reluICML.pdf.
    """

    exact = True

    def flops(self, shape: Shape) -> float:
        return 1.0 * self.elements(shape)  # the comparison

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.where(x > 0, x, xp.zeros_like(x))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import relu

        call: Call = relu
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import relu

        call: Call = relu
        return call
