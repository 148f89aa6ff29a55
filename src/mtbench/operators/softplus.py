"""Softplus, a smooth ReLU."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape


@dataclass(frozen=True)
class Softplus(Elementwise):
    """y = log(1 + exp(x)). x: (batch, seq, embed) -> (batch, seq, embed).

    All libraries compute max(x, 0) + log(1 + exp(-|x|)), whose exponential cannot overflow, or y = x where x is large (torch,
    above 20). Source: Dugas et al. 2000,
    https://papers.nips.cc/paper/1920-incorporating-second-order-functional-knowledge-for-better-option-pricing.
    """

    def flops(self, shape: Shape) -> float:
        return 3.0 * self.elements(shape)  # exponential, sum, logarithm

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import softplus

        call: Call = softplus
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import softplus

        call: Call = softplus
        return call
