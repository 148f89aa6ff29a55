"""Scaled exponential linear unit."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape

ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Selu(Elementwise):
    """y = scale x where x > 0, else scale alpha (exp(x) - 1), with scale = 1.0507... and alpha = 1.6732....

    x: (batch, seq, embed) -> (batch, seq, embed). The constants, which keep mean 0 and variance 1 from layer to layer, are
    those of the source: Klambauer et al. 2017, https://arxiv.org/abs/1706.02515. MLX rounds them to five decimals, an
    error of 3e-6.
    """

    def flops(self, shape: Shape) -> float:
        return 4.0 * self.elements(shape)  # exponential, subtraction, product, comparison

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        negative = xp.where(x > 0, xp.zeros_like(x), x)  # exp(80) is beyond float16
        return xp.where(x > 0, SCALE * x, SCALE * ALPHA * xp.expm1(negative))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import selu

        call: Call = selu
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import selu

        call: Call = selu
        return call
