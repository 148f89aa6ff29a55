"""Parametric rectified linear unit."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._activations import Elementwise
from mtbench.operators.base import Call, Dimensions, Host, Shape, array_bytes


@dataclass(frozen=True)
class Prelu(Elementwise):
    """y = x where x > 0, else weight x, with a learned slope per feature.

    x: (batch, seq, embed) -> (batch, seq, embed); weight: (embed,), drawn near 0.25, where it starts in training. torch
    takes axis 1 for the features, so that batch and seq are one axis there. Source: He et al. 2015,
    https://arxiv.org/abs/1502.01852.
    """

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {"weight": (self.embed_dim,)}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return {"weight": rng.normal(loc=0.25, scale=0.1, size=self.embed_dim)}

    def flops(self, shape: Shape) -> float:
        return 2.0 * self.elements(shape)  # product, comparison

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return super().bytes_moved(shape, dtype) + array_bytes(self.weight_shapes(), dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return xp.where(x > 0, x, w.weight * x)

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import prelu

        weight = w.weight
        return lambda x: prelu(x.flatten(0, 1), weight).view(x.shape)

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn import prelu

        weight = w.weight
        return lambda x: prelu(x, weight)
