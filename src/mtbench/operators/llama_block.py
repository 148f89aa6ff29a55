"""A decoder layer as in LLaMA: grouped-query attention and a gated MLP, each after an RMSNorm."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np

from mtbench.operators._layers import Build, Layer, in_torch_variant, named, part, residual, sharing
from mtbench.operators.base import Call, Dimensions, Host, Positive, Shape, Size, array_bytes
from mtbench.operators.gqa import GroupedQueryAttention
from mtbench.operators.rms_norm import RmsNorm
from mtbench.operators.swiglu_mlp import SwigluMlp


@dataclass(frozen=True)
class LlamaBlock(Layer):
    """x = x + GQA(RMSNorm(x)), out = x + MLP(RMSNorm(x)): one layer of LLaMA, Mistral or Qwen.

    x: (batch, seq, embed) -> (batch, seq, embed); where `shape.kv_len` is above seq, further inputs cache_k and cache_v as in
    `gqa`. The parameters of attention are those of `gqa`; `mlp_dim` and `activation` are those of `swiglu_mlp`. With `bias`,
    every projection has a bias; `eps` is that of every norm. Weights are named as in Hugging Face's LlamaDecoderLayer:
    input_layernorm, self_attn, post_attention_layernorm, mlp.

    The layer is composed of `rms_norm`, `gqa` and `swiglu_mlp`, in each library's form of them. Source: Touvron et al. 2023,
    https://arxiv.org/abs/2302.13971.
    """

    embed_dim: Size = 768
    num_heads: Size = 12
    num_kv_heads: Size = 4
    head_dim: Size | None = None
    mlp_dim: Size | None = None
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    causal: bool = True
    window: Size | None = None
    bias: bool = False
    qk_norm: bool = False
    theta: Positive = 10000.0
    eps: Positive = 1e-6

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.self_attn  # checks the heads, and what they see

    @property
    def norm(self) -> RmsNorm:
        return sharing(self, RmsNorm)

    @property
    def self_attn(self) -> GroupedQueryAttention:
        return sharing(self, GroupedQueryAttention)

    @property
    def mlp(self) -> SwigluMlp:
        return sharing(self, SwigluMlp)

    def check(self, shape: Shape) -> None:
        self.self_attn.check(shape)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return self.self_attn.inputs(rng, shape)

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {
            **named("input_layernorm", self.norm.weight_shapes()),
            **named("self_attn", self.self_attn.weight_shapes()),
            **named("post_attention_layernorm", self.norm.weight_shapes()),
            **named("mlp", self.mlp.weight_shapes()),
        }

    def flops(self, shape: Shape) -> float:
        # products alone, which are all but a thousandth of the work: attention with its projections, and the MLP
        return self.self_attn.flops(shape) + self.mlp.flops(Shape(shape.batch_size, shape.seq_len))

    def reference_bytes(self, shape: Shape) -> float:
        return self.self_attn.reference_bytes(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return self.self_attn.bytes_moved(shape, dtype) + array_bytes(self._other_weight_shapes(), dtype)

    def host_bytes(self, shape: Shape) -> float:
        return self.self_attn.host_bytes(shape) + array_bytes(self._other_weight_shapes(), "float64")

    def _other_weight_shapes(self) -> dict[str, Dimensions]:
        """The shapes of all weights but attention's."""
        return {name: size for name, size in self.weight_shapes().items() if not name.startswith("self_attn.")}

    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        """The layer in one library."""
        norm1, norm2 = (build(self.norm, part(w, name)) for name in ("input_layernorm", "post_attention_layernorm"))
        attend = residual(True, norm1, build(self.self_attn, part(w, "self_attn")))
        feed_forward = residual(True, norm2, build(self.mlp, part(w, "mlp")))
        return lambda x, *cache: feed_forward(attend(x, *cache))

    def torch_array_mask(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_torch_variant("array_mask"))

    def torch_products(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_torch_variant("products"))

    def torch_grouped_rows(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_torch_variant("grouped_rows"))
