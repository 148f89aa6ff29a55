"""Multi-head attention, with its projections."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import Unsupported
from mtbench.operators._layers import (
    Build,
    head_size,
    in_mlx,
    in_portable,
    in_torch,
    in_torch_variant,
    load_mlx,
    load_torch,
    named,
    part,
    sharing,
    torch_causal_mask,
)
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes, draw_weights
from mtbench.operators.linear import Linear
from mtbench.operators.sdpa import ScaledDotProductAttention


@dataclass(frozen=True)
class MultiHeadAttention(Operator):
    """out = concat_h(softmax(Q_h K_h^T / sqrt(head_dim) + mask) V_h) W_o^T + b_o; Q = x W_q^T + b_q, K and V likewise.

    x: (batch, seq, embed) -> (batch, seq, embed). K and V come from x itself, or, where `shape.kv_len` is given, from a
    second input `memory`: (batch, kv_len, embed). in_proj_weight: (3 heads head_dim, embed) stacks W_q, W_k and W_v as in
    torch.nn.MultiheadAttention; out_proj.weight: (embed, heads head_dim). With `bias`, all four projections have a bias.
    `head_dim` is embed_dim / num_heads where it is not given. `causal` is aligned bottom-right.

    The projections of one input are one product in both libraries; attention is the library's fused call and returns no
    weights. Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    head_dim: Size | None = None
    causal: bool = False
    bias: bool = True

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        head_size(self.embed_dim, self.num_heads, self.head_dim)

    @property
    def head_size(self) -> int:
        return head_size(self.embed_dim, self.num_heads, self.head_dim)

    @property
    def inner_dim(self) -> int:
        """The width of all heads together."""
        return self.num_heads * self.head_size

    @property
    def attention(self) -> ScaledDotProductAttention:
        return sharing(self, ScaledDotProductAttention)

    @property
    def out_proj(self) -> Linear:
        return Linear(self.inner_dim, self.embed_dim, self.bias)

    def check(self, shape: Shape) -> None:
        self.attention.check(shape)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {name: rng.standard_normal(size) for name, size in self.input_shapes(shape).items()}

    def input_shapes(self, shape: Shape) -> dict[str, Dimensions]:
        lengths = {"x": shape.seq_len} | ({} if shape.kv_len is None else {"memory": shape.kv_len})
        return {name: (shape.batch_size, length, self.embed_dim) for name, length in lengths.items()}

    def weight_shapes(self) -> dict[str, Dimensions]:
        in_proj: dict[str, Dimensions] = {"in_proj_weight": (3 * self.inner_dim, self.embed_dim)}
        in_proj |= {"in_proj_bias": (3 * self.inner_dim,)} if self.bias else {}
        return in_proj | named("out_proj", self.out_proj.weight_shapes())

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # products alone: Q and output for each query, K and V for each key, and attention itself
        rows = 2 * shape.seq_len + 2 * shape.key_len
        return 2.0 * shape.batch_size * rows * self.embed_dim * self.inner_dim + self.attention.flops(shape)

    def reference_bytes(self, shape: Shape) -> float:
        return self.attention.reference_bytes(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        out = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({**self.input_shapes(shape), **self.weight_shapes(), "out": out}, dtype)

    def projections(self, w: SimpleNamespace, build: Build) -> tuple[Call, Call, Call]:
        """The projections to Q, K and V together, to Q alone, and to K and V, each by its rows of in_proj_weight."""
        bias = getattr(w, "in_proj_bias", None)

        def project(rows: slice) -> Call:
            weight = w.in_proj_weight[rows]
            biases = {} if bias is None else {"bias": bias[rows]}
            return build(Linear(self.embed_dim, weight.shape[0], self.bias), SimpleNamespace(weight=weight, **biases))

        inner = self.inner_dim
        return project(slice(None)), project(slice(inner)), project(slice(inner, None))

    def layer(self, w: SimpleNamespace, build: Build, split: Call, merge: Call) -> Call:
        """The layer in one library. split(x, n): (batch, len, n heads head_dim) -> n of (batch, heads, len, head_dim)."""
        project_qkv, project_q, project_kv = self.projections(w, build)
        attend, project_out = build(self.attention, w), build(self.out_proj, part(w, "out_proj"))

        def call(x: Any, memory: Any = None) -> Any:
            if memory is None:
                q, k, v = split(project_qkv(x), 3)
            else:
                (q,), (k, v) = split(project_q(x), 1), split(project_kv(memory), 2)
            return project_out(merge(attend(q, k, v)))

        return call

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        def split(x: Any, count: int) -> list[Any]:
            batch, length, _ = x.shape
            heads = xp.reshape(x, (batch, length, count, self.num_heads, self.head_size))
            return [xp.permute_dims(heads[:, :, i], (0, 2, 1, 3)) for i in range(count)]

        def merge(x: Any) -> Any:
            batch, _, length, _ = x.shape
            return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (batch, length, self.inner_dim))

        return self.layer(w, in_portable(xp), split, merge)

    def torch(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch)

    def torch_array_mask(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch_variant("array_mask"))

    def torch_products(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch_variant("products"))

    def _torch(self, w: SimpleNamespace, build: Build) -> Call:
        heads = (self.num_heads, self.head_size)

        def split(x: Any, count: int) -> Any:
            return x.unflatten(-1, (count, *heads)).permute(2, 0, 3, 1, 4).unbind(0)

        return self.layer(w, build, split, lambda x: x.transpose(1, 2).flatten(2))

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        heads = (self.num_heads, self.head_size)

        def split(x: Any, count: int) -> Any:
            parts = mx.split(x, count, axis=-1) if count > 1 else [x]
            return [mx.unflatten(each, -1, heads).transpose(0, 2, 1, 3) for each in parts]

        return self.layer(w, in_mlx, split, lambda x: x.transpose(0, 2, 1, 3).flatten(-2))

    def refuse_head_dim(self, module: str) -> None:
        """Raises Unsupported where a stock module cannot have this head_dim: its heads share `embed_dim` equally."""
        if self.inner_dim != self.embed_dim:
            raise Unsupported(
                f"{module} has no head_dim: its heads share embed_dim={self.embed_dim}, which "
                f"num_heads={self.num_heads} of head_dim={self.head_size} do not fill."
            )

    def torch_stock(self, w: SimpleNamespace) -> Call:
        from torch import nn

        self.refuse_head_dim("torch.nn.MultiheadAttention")
        module = load_torch(
            nn.MultiheadAttention(self.embed_dim, self.num_heads, bias=self.bias, batch_first=True, device="meta"), w
        )
        hidden = torch_causal_mask(seen=False)

        def call(x: Any, memory: Any = None) -> Any:
            keys = x if memory is None else memory
            if not self.causal:
                return module(x, keys, keys, need_weights=False)[0]
            # This mask is true where a key is hidden. `is_causal` is a hint that it is aligned top-left, as only a square one
            # is.
            mask = hidden(x.shape[1], keys.shape[1], x.device)
            square = x.shape[1] == keys.shape[1]
            return module(x, keys, keys, need_weights=False, attn_mask=mask, is_causal=square)[0]

        return call

    def mlx_stock(self, w: SimpleNamespace) -> Call:
        from mlx import nn

        module = nn.MultiHeadAttention(
            self.inner_dim,
            self.num_heads,
            query_input_dims=self.embed_dim,
            key_input_dims=self.embed_dim,
            value_output_dims=self.embed_dim,
            value_dims=self.inner_dim,
            bias=self.bias,
        )
        load_mlx(module, self.names_in_mlx(w))
        mask = "causal" if self.causal else None

        def call(x: Any, memory: Any = None) -> Any:
            keys = x if memory is None else memory
            return module(x, keys, keys, mask)

        return call

    def names_in_mlx(self, w: SimpleNamespace) -> dict[str, Any]:
        """These weights as mlx.nn.MultiHeadAttention names them."""
        weights = named("out_proj", vars(part(w, "out_proj")))
        for i, name in enumerate(("query_proj", "key_proj", "value_proj")):
            rows = slice(i * self.inner_dim, (i + 1) * self.inner_dim)
            weights[f"{name}.weight"] = w.in_proj_weight[rows]
            if self.bias:
                weights[f"{name}.bias"] = w.in_proj_bias[rows]
        return weights
