"""Transformer decoder layer: self-attention, cross-attention to a memory and an MLP, each with norm and residual."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from mtbench.operators._layers import (
    Build,
    Layer,
    in_mlx,
    in_torch,
    load_mlx,
    load_torch,
    mlx_layer_weights,
    named,
    part,
    refuse_mlx_layer,
    residual,
    sharing,
    torch_causal_mask,
)
from mtbench.operators._mlp import Activation, Mlp
from mtbench.operators.base import Call, Dimensions, Host, Positive, Shape, Size, array_bytes
from mtbench.operators.layer_norm import LayerNorm
from mtbench.operators.mha import MultiHeadAttention


@dataclass(frozen=True)
class TransformerDecoderLayer(Layer):
    """Self-attention, cross-attention and MLP, one after the other, around each a norm and a residual.

    `norm_first`: x = x + block(norm(x)) for each; otherwise x = norm(x + block(x)). The blocks: MHA(x), with norm1;
    MHA(x, memory), queries from x and keys and values from the memory as it is, with norm2; and
    MLP(x) = linear2(activation(linear1(x))), with norm3.

    x: (batch, seq, embed), memory: (batch, kv_len, embed) -> (batch, seq, embed); `shape.kv_len` is seq where it is not
    given. `causal` hides the future in self-attention; the memory is seen whole. The other parameters are those of
    `transformer_encoder_layer`, and so is the composition from `mha`, `layer_norm` and `linear`. Source: Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762; `norm_first`: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    head_dim: Size | None = None
    mlp_dim: Size | None = None
    causal: bool = True
    bias: bool = True
    eps: Positive = 1e-5
    norm_first: bool = True
    activation: Activation = "relu"

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.self_attn  # checks that the heads divide the width

    @property
    def self_attn(self) -> MultiHeadAttention:
        return sharing(self, MultiHeadAttention)

    @property
    def multihead_attn(self) -> MultiHeadAttention:
        """Cross-attention, under the name that torch gives it."""
        return sharing(self, MultiHeadAttention, causal=False)

    @property
    def norm(self) -> LayerNorm:
        return sharing(self, LayerNorm)

    @property
    def mlp(self) -> Mlp:
        return sharing(self, Mlp)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {name: rng.standard_normal(size) for name, size in self.input_shapes(shape).items()}

    def input_shapes(self, shape: Shape) -> dict[str, Dimensions]:
        return {
            "x": (shape.batch_size, shape.seq_len, self.embed_dim),
            "memory": (shape.batch_size, shape.key_len, self.embed_dim),
        }

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {
            **named("self_attn", self.self_attn.weight_shapes()),
            **named("multihead_attn", self.multihead_attn.weight_shapes()),
            **self.mlp.weight_shapes(),
            **named("norm1", self.norm.weight_shapes()),
            **named("norm2", self.norm.weight_shapes()),
            **named("norm3", self.norm.weight_shapes()),
        }

    def flops(self, shape: Shape) -> float:
        # products alone, which are all but a thousandth of the work: both attentions with projections, and the MLP
        own = replace(shape, kv_len=None)
        return self.self_attn.flops(own) + self.multihead_attn.flops(shape) + self.mlp.flops(own)

    def reference_bytes(self, shape: Shape) -> float:
        return self.self_attn.reference_bytes(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        out = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({**self.input_shapes(shape), **self.weight_shapes(), "out": out}, dtype)

    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        """The layer in one library."""
        norm1, norm2, norm3 = (build(self.norm, part(w, name)) for name in ("norm1", "norm2", "norm3"))
        attend = residual(self.norm_first, norm1, build(self.self_attn, part(w, "self_attn")))
        attend_memory = residual(self.norm_first, norm2, build(self.multihead_attn, part(w, "multihead_attn")))
        feed_forward = residual(self.norm_first, norm3, build(self.mlp, w))
        return lambda x, memory: feed_forward(attend_memory(attend(x), memory))

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        self.self_attn.refuse_head_dim("torch.nn.TransformerDecoderLayer")
        module = nn.TransformerDecoderLayer(
            self.embed_dim,
            self.num_heads,
            self.mlp.hidden_dim,
            activation=in_torch(self.mlp.act, SimpleNamespace()),
            layer_norm_eps=self.eps,
            batch_first=True,
            norm_first=self.norm_first,
            bias=self.bias,
            device="meta",
        )
        load_torch(module, w)
        if not self.causal:
            return lambda x, memory: module(x, memory)
        hidden = torch_causal_mask(seen=False)
        # the hint `tgt_is_causal` lets torch do without the mask where it calls its fused attention
        return lambda x, memory: module(
            x, memory, tgt_mask=hidden(x.shape[1], x.shape[1], x.device), tgt_is_causal=True
        )

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        self.self_attn.refuse_head_dim("mlx.nn.TransformerDecoderLayer")
        refuse_mlx_layer("mlx.nn.TransformerDecoderLayer", self.bias, self.eps)
        module = nn.TransformerDecoderLayer(
            self.embed_dim,
            self.num_heads,
            self.mlp.hidden_dim,
            activation=in_mlx(self.mlp.act, SimpleNamespace()),
            norm_first=self.norm_first,
        )
        weights = named("self_attention", self.self_attn.names_in_mlx(part(w, "self_attn")))
        weights |= named("cross_attention", self.multihead_attn.names_in_mlx(part(w, "multihead_attn")))
        names = {"linear1": "linear1", "linear2": "linear2", "norm1": "ln1", "norm2": "ln2", "norm3": "ln3"}
        weights |= mlx_layer_weights(w, names)
        load_mlx(module, weights)
        mask = "causal" if self.causal else None
        return lambda x, memory: module(x, memory, mask, None)
