"""Transformer encoder layer: self-attention and an MLP, each with norm and residual."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from mtbench.errors import Unsupported
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
class TransformerEncoderLayer(Layer):
    """`norm_first`: x = x + MHA(norm1(x)), out = x + MLP(norm2(x)); otherwise x = norm1(x + MHA(x)), out = norm2(x + MLP(x)).

    x: (batch, seq, embed) -> (batch, seq, embed). MLP(x) = linear2(activation(linear1(x))), `mlp_dim` wide inside, which is
    4 embed_dim where it is not given. With `bias`, every linear and norm has one; `causal` hides the future in attention;
    `activation`: relu, gelu (exact), gelu_tanh or silu. No dropout: this is inference.

    The layer is composed of `mha`, `layer_norm` and `linear`, in each library's form of them. Source: Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762; `norm_first`: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    head_dim: Size | None = None
    mlp_dim: Size | None = None
    causal: bool = False
    bias: bool = True
    eps: Positive = 1e-5
    norm_first: bool = True
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.self_attn  # checks that the heads divide the width

    @property
    def self_attn(self) -> MultiHeadAttention:
        return sharing(self, MultiHeadAttention)

    @property
    def norm(self) -> LayerNorm:
        return sharing(self, LayerNorm)

    @property
    def mlp(self) -> Mlp:
        return sharing(self, Mlp)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {
            **named("self_attn", self.self_attn.weight_shapes()),
            **self.mlp.weight_shapes(),
            **named("norm1", self.norm.weight_shapes()),
            **named("norm2", self.norm.weight_shapes()),
        }

    def flops(self, shape: Shape) -> float:
        # products alone, which are all but a thousandth of the work: attention with its projections, and the MLP
        return self.self_attn.flops(shape) + self.mlp.flops(shape)

    def reference_bytes(self, shape: Shape) -> float:
        return self.self_attn.reference_bytes(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, dtype)

    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        """The layer in one library."""
        norm1, norm2 = build(self.norm, part(w, "norm1")), build(self.norm, part(w, "norm2"))
        attend = residual(self.norm_first, norm1, build(self.self_attn, part(w, "self_attn")))
        feed_forward = residual(self.norm_first, norm2, build(self.mlp, w))
        return lambda x: feed_forward(attend(x))

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        self.self_attn.refuse_head_dim("torch.nn.TransformerEncoderLayer")
        fused = self.bias and self.num_heads % 2 == 0  # what the module asks before it calls torch's fused layer
        if fused and self.activation == "gelu" and vars(w)["linear1.weight"].is_cuda:
            raise Unsupported(
                "torch.nn.TransformerEncoderLayer computes the tanh approximation of gelu on CUDA, off by 1e-4; "
                "use operator.variant=native for exact gelu."
            )
        module = nn.TransformerEncoderLayer(
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
            return lambda x: module(x)
        hidden = torch_causal_mask(seen=False)
        # the hint `is_causal` lets torch do without the mask where it calls its fused attention
        return lambda x: module(x, src_mask=hidden(x.shape[1], x.shape[1], x.device), is_causal=True)

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        self.self_attn.refuse_head_dim("mlx.nn.TransformerEncoderLayer")
        refuse_mlx_layer("mlx.nn.TransformerEncoderLayer", self.bias, self.eps)
        module = nn.TransformerEncoderLayer(
            self.embed_dim,
            self.num_heads,
            self.mlp.hidden_dim,
            activation=in_mlx(self.mlp.act, SimpleNamespace()),
            norm_first=self.norm_first,
        )
        weights = named("attention", self.self_attn.names_in_mlx(part(w, "self_attn")))
        weights |= mlx_layer_weights(w, {"linear1": "linear1", "linear2": "linear2", "norm1": "ln1", "norm2": "ln2"})
        load_mlx(module, weights)
        mask = "causal" if self.causal else None
        return lambda x: module(x, mask)
