"""The MLP inside a transformer layer: linear, activation, linear. A part of the layers and no operator of its own."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np

from mtbench.operators._activations import Elementwise
from mtbench.operators._layers import Build, Layer, named, part
from mtbench.operators.base import Call, Dimensions, Host, Shape, Size, array_bytes
from mtbench.operators.gelu import Gelu
from mtbench.operators.linear import Linear
from mtbench.operators.relu import Relu
from mtbench.operators.silu import Silu

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
"""By the names of their operators; gelu is exact, gelu_tanh is `gelu` with approximate=tanh."""


def activation_operator(name: Activation, width: int) -> Elementwise:
    """The operator of an activation, `width` features wide."""
    operators = {"relu": Relu(width), "gelu": Gelu(width), "gelu_tanh": Gelu(width, "tanh"), "silu": Silu(width)}
    return operators[name]


@dataclass(frozen=True)
class Mlp(Layer):
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
    def act(self) -> Elementwise:
        return activation_operator(self.activation, self.hidden_dim)

    @property
    def linear2(self) -> Linear:
        return Linear(self.hidden_dim, self.embed_dim, self.bias)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return self.linear1.inputs(rng, shape)

    def weight_shapes(self) -> dict[str, Dimensions]:
        return named("linear1", self.linear1.weight_shapes()) | named("linear2", self.linear2.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # the products alone, which are all but a thousandth of the work
        return self.linear1.flops(shape) + self.linear2.flops(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        linear1, linear2 = build(self.linear1, part(w, "linear1")), build(self.linear2, part(w, "linear2"))
        act = build(self.act, SimpleNamespace())
        return lambda x: linear2(act(linear1(x)))
