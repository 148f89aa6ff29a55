"""Gaussian error linear unit."""

import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape


@dataclass(frozen=True)
class Gelu(Elementwise):
    """y = x Phi(x), Phi being the distribution function of the standard normal, (1 + erf(x / sqrt 2)) / 2.

    x: (batch, seq, embed) -> (batch, seq, embed). `approximate=tanh` takes (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
    for Phi, as GPT-2 and Gemma do. Source: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415.
    """

    approximate: Literal["none", "tanh"] = "none"

    def flops(self, shape: Shape) -> float:
        # none: scaling, erf, sum, two products; tanh: three products and a sum within, scaling, tanh, sum, two products
        return (5.0 if self.approximate == "none" else 9.0) * self.elements(shape)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        if self.approximate == "none":
            return 0.5 * x * (1 + xp.erf(x * 0.5**0.5))
        return 0.5 * x * (1 + xp.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import gelu

        # functional, and not the module nn.GELU(approximate="tanh"), which torch's fused encoder layer would take for exact
        call: Call = gelu if self.approximate == "none" else partial(gelu, approximate="tanh")
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import gelu, gelu_approx

        call: Call = gelu if self.approximate == "none" else gelu_approx
        return call
