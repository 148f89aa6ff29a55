"""The MLP inside a transformer layer: linear, activation, linear. A part of the layers and no operator of its own."""

import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.operators._layers import Build, in_mlx, in_portable, in_torch, named, part
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes, draw_weights
from mtbench.operators.linear import Linear

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
"""gelu is exact, x Phi(x); gelu_tanh its approximation (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415)."""


@dataclass(frozen=True)
class Mlp(Operator):
    """linear2(activation(linear1(x))): (batch, seq, embed) -> (batch, seq, embed), `mlp_dim` or 4 embed_dim wide inside."""

    embed_dim: Size = 768
    mlp_dim: Size | None = None
    bias: bool = True
    activation: Activation = "relu"

    @property
    def hidden_dim(self) -> int:
        return self.mlp_dim or 4 * self.embed_dim

    @property
    def linear1(self) -> Linear:
        return Linear(self.embed_dim, self.hidden_dim, self.bias)

    @property
    def linear2(self) -> Linear:
        return Linear(self.hidden_dim, self.embed_dim, self.bias)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return self.linear1.inputs(rng, shape)

    def weight_shapes(self) -> dict[str, Dimensions]:
        return named("linear1", self.linear1.weight_shapes()) | named("linear2", self.linear2.weight_shapes())

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        return self.linear1.flops(shape) + self.linear2.flops(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def layer(self, w: SimpleNamespace, build: Build, activation: Call) -> Call:
        linear1, linear2 = build(self.linear1, part(w, "linear1")), build(self.linear2, part(w, "linear2"))
        return lambda x: linear2(activation(linear1(x)))

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.layer(w, in_portable(xp), portable_activation(xp, self.activation))(*inputs)

    def torch(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_torch, torch_activation(self.activation))

    def mlx(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_mlx, mlx_activation(self.activation))


def torch_activation(name: Activation) -> Call:
    from torch.nn import functional as F

    # functional, and not the module nn.GELU(approximate="tanh"), which torch's fused encoder layer would take for exact
    calls: dict[str, Call] = {
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu_tanh": partial(F.gelu, approximate="tanh"),
        "silu": F.silu,
    }
    return calls[name]


def mlx_activation(name: Activation) -> Call:
    from mlx import nn

    # each is compiled by the library into one kernel, which the formula written out would not be in eager mode
    calls: dict[str, Call] = {"relu": nn.relu, "gelu": nn.gelu, "gelu_tanh": nn.gelu_approx, "silu": nn.silu}
    return calls[name]


def portable_activation(xp: Any, name: Activation) -> Call:
    calls: dict[str, Call] = {
        "relu": lambda x: xp.where(x > 0, x, 0.0 * x),
        "gelu": lambda x: 0.5 * x * (1 + xp.erf(x * 0.5**0.5)),
        "gelu_tanh": lambda x: 0.5 * x * (1 + xp.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x))),
        "silu": lambda x: x / (1 + xp.exp(-x)),
    }
    return calls[name]
