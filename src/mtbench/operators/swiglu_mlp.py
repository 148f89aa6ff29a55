"""Gated MLP, as in LLaMA, Qwen and Gemma: the activation of one projection times another, projected back."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np

from mtbench.operators._activations import Elementwise
from mtbench.operators._layers import Build, Layer, in_mlx, named, part
from mtbench.operators._mlp import activation_operator
from mtbench.operators.base import Call, Dimensions, Host, Shape, Size, array_bytes
from mtbench.operators.linear import Linear

MULTIPLE_OF = 256


@dataclass(frozen=True)
class SwigluMlp(Layer):
    """down(activation(gate(x)) * up(x)), three linears, `mlp_dim` wide between them.

    x: (batch, seq, embed) -> (batch, seq, embed); gate_proj.weight, up_proj.weight: (mlp, embed), down_proj.weight:
    (embed, mlp), named as in Hugging Face's transformers. Where `mlp_dim` is not given it is 8/3 embed_dim, which has as
    many weights as two linears 4 embed_dim wide, rounded up to a multiple of 256, as LLaMA has it. `activation`: silu
    (SwiGLU), gelu (GEGLU, exact) or gelu_tanh (Gemma's).

    Gate and up are two products in both libraries: stacked into one, whose halves are then strided, they took 14 % longer in
    torch (H200, 4096 tokens) and gained nothing in MLX. There the activation and its factor are one compiled kernel, as in
    mlx-lm.
    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202.
    """

    embed_dim: Size = 768
    mlp_dim: Size | None = None
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    bias: bool = False

    @property
    def hidden_dim(self) -> int:
        return self.mlp_dim or -(8 * self.embed_dim // 3 // -MULTIPLE_OF) * MULTIPLE_OF

    @property
    def gate_proj(self) -> Linear:
        return Linear(self.embed_dim, self.hidden_dim, self.bias)

    @property
    def up_proj(self) -> Linear:
        return self.gate_proj

    @property
    def down_proj(self) -> Linear:
        return Linear(self.hidden_dim, self.embed_dim, self.bias)

    @property
    def act(self) -> Elementwise:
        return activation_operator(self.activation, self.hidden_dim)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return self.gate_proj.inputs(rng, shape)

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {
            **named("gate_proj", self.gate_proj.weight_shapes()),
            **named("up_proj", self.up_proj.weight_shapes()),
            **named("down_proj", self.down_proj.weight_shapes()),
        }

    def flops(self, shape: Shape) -> float:
        # the three products alone, which are all but a thousandth of the work
        return self.gate_proj.flops(shape) + self.up_proj.flops(shape) + self.down_proj.flops(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        gate, up = build(self.gate_proj, part(w, "gate_proj")), build(self.up_proj, part(w, "up_proj"))
        down, act = build(self.down_proj, part(w, "down_proj")), build(self.act, SimpleNamespace())
        return lambda x: down(act(gate(x)) * up(x))

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        gate, up = in_mlx(self.gate_proj, part(w, "gate_proj")), in_mlx(self.up_proj, part(w, "up_proj"))
        down, act = in_mlx(self.down_proj, part(w, "down_proj")), in_mlx(self.act, SimpleNamespace())
        gating = mx.compile(lambda gated, passed: act(gated) * passed, shapeless=True)
        return lambda x: down(gating(gate(x), up(x)))
