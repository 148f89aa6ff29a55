"""Leaky rectified linear unit."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from mtbench.errors import ConfigError
from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Positive, Shape


@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """y = x where x > 0, else negative_slope x. x: (batch, seq, embed) -> (batch, seq, embed).

    `negative_slope` is at most 1, so that y = max(x, negative_slope x), which is how MLX computes it. Source: Maas, Hannun
    and Ng 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf.
    """

    negative_slope: Positive = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negative_slope > 1:
            raise ConfigError(
                f"operator.params.negative_slope={self.negative_slope} does not fit; it must be at most 1, "
                "beyond which mlx.nn.leaky_relu, max(x, negative_slope x), is another function."
            )

    def flops(self, shape: Shape) -> float:
        return 2.0 * self.elements(shape)  # product, comparison

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.where(x > 0, x, self.negative_slope * x)

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import leaky_relu

        return partial(leaky_relu, negative_slope=self.negative_slope)

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import leaky_relu

        return partial(leaky_relu, negative_slope=self.negative_slope)
