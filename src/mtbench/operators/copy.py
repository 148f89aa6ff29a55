"""A copy, as the measure of memory's speed."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Shape


@dataclass(frozen=True)
class Copy(Elementwise):
    """y = x, in an array of its own. x: (batch, seq, embed) -> (batch, seq, embed).

    Source: the copy of STREAM (McCalpin 1995), https://www.cs.virginia.edu/stream/ref.html; but this copy is a new array, as
    the output of every operator here, and on a CPU the system may have to find memory for it.
    """

    exact = True

    def flops(self, shape: Shape) -> float:
        return 0.0

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.asarray(x, copy=True)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        call: Call = torch.clone
        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        call: Call = mx.array
        return call
