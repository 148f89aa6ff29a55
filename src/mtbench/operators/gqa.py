"""Grouped-query attention with its projections and rotary position embedding, as in LLaMA."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators._layers import (
    Build,
    in_mlx,
    in_portable,
    in_torch,
    in_torch_variant,
    named,
    part,
    sharing,
)
from mtbench.operators.base import Call, Dimensions, Host, Operator, Positive, Shape, Size, array_bytes, draw_weights
from mtbench.operators.linear import Linear
from mtbench.operators.rms_norm import RmsNorm
from mtbench.operators.rope import RotaryEmbedding
from mtbench.operators.sdpa import ScaledDotProductAttention


@dataclass(frozen=True)
class GroupedQueryAttention(Operator):
    """out = o_proj(attention(rope(q_proj(x)), rope(k_proj(x)), v_proj(x))): the self-attention of LLaMA, Mistral and Qwen.

    x: (batch, seq, embed) -> (batch, seq, embed). Where `shape.kv_len` is above seq, x continues what is in a cache:
    further inputs cache_k and cache_v, (batch, kv_heads, kv_len - seq, head_dim), come before the new keys and values, and
    the positions of x are the last of kv_len. The cached keys are rotated already. Nothing is written: keys and values
    are concatenated for this call, as in Hugging Face's DynamicCache, and only `out` is returned;
    `kv_cache_update` measures the writing.

    q_proj.weight: (heads head_dim, embed), k_proj.weight and v_proj.weight: (kv_heads head_dim, embed), o_proj.weight:
    (embed, heads head_dim), named as in Hugging Face's transformers; with `bias`, all four have a bias. `head_dim` is embed_dim
    / num_heads where it is not given. `qk_norm`: queries and keys go through an RMSNorm over each head, q_norm.weight and
    k_norm.weight: (head_dim,), before they are rotated, as in Qwen3 (https://arxiv.org/abs/2505.09388). `causal` and `window`
    as in `sdpa`; `theta` as in `rope`.

    torch: the three projections are one product, their weights stacked once. MLX: three products, as in mlx-lm; mx.fast.rope
    would copy the slices of a single one. Source: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; LLaMA: Touvron et al.
    2023, https://arxiv.org/abs/2307.09288.
    """

    embed_dim: Size = 768
    num_heads: Size = 12
    num_kv_heads: Size = 4
    head_dim: Size | None = None
    causal: bool = True
    window: Size | None = None
    bias: bool = False
    qk_norm: bool = False
    theta: Positive = 10000.0
    eps: Positive = 1e-6

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.attention, self.rope  # check the heads, and what they see

    @property
    def attention(self) -> ScaledDotProductAttention:
        return sharing(self, ScaledDotProductAttention)

    @property
    def rope(self) -> RotaryEmbedding:
        return sharing(self, RotaryEmbedding, head_dim=self.attention.head_size)

    @property
    def norm(self) -> RmsNorm:
        return RmsNorm(embed_dim=self.attention.head_size, eps=self.eps)

    @property
    def heads(self) -> dict[str, int]:
        """How many heads each projection makes."""
        return {"q_proj": self.num_heads, "k_proj": self.num_kv_heads, "v_proj": self.num_kv_heads}

    def projection(self, heads: int) -> Linear:
        return Linear(self.embed_dim, heads * self.attention.head_size, self.bias)

    @property
    def o_proj(self) -> Linear:
        return Linear(self.num_heads * self.attention.head_size, self.embed_dim, self.bias)

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if shape.key_len < shape.seq_len:
            raise ConfigError(
                f"shape.kv_len={shape.key_len} is below shape.seq_len={shape.seq_len}, but counts the new positions too, "
                "after those in the cache; give kv_len >= seq_len."
            )

    def input_shapes(self, shape: Shape, cached: int) -> dict[str, Dimensions]:
        """The shapes of the inputs, with `cached` positions in the cache."""
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        cache = (shape.batch_size, self.num_kv_heads, cached, self.attention.head_size)
        return {"x": x, "cache_k": cache, "cache_v": cache} if cached else {"x": x}

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        sizes = self.input_shapes(shape, shape.key_len - shape.seq_len)
        return {name: rng.standard_normal(size) for name, size in sizes.items()}

    def weight_shapes(self) -> dict[str, Dimensions]:
        shapes: dict[str, Dimensions] = {}
        for name, heads in self.heads.items():
            shapes |= named(name, self.projection(heads).weight_shapes())
        shapes |= named("o_proj", self.o_proj.weight_shapes())
        for name in ("q_norm", "k_norm") if self.qk_norm else ():
            shapes |= named(name, self.norm.weight_shapes())
        return shapes

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def flops(self, shape: Shape) -> float:
        # products alone: the projections of each new position, and attention itself
        new = Shape(shape.batch_size, shape.seq_len)
        projections = sum(self.projection(heads).flops(new) for heads in self.heads.values())
        return projections + self.o_proj.flops(new) + self.attention.flops(shape)

    def reference_bytes(self, shape: Shape) -> float:
        return self.attention.reference_bytes(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        cached = self.attention.visible_keys(shape.seq_len, shape.key_len) - shape.seq_len
        inputs = self.input_shapes(shape, max(cached, 0))
        return array_bytes({**inputs, **self.weight_shapes(), "out": inputs["x"]}, dtype)

    def host_bytes(self, shape: Shape) -> float:
        inputs = self.input_shapes(shape, shape.key_len - shape.seq_len)  # the positions out of a window's sight too
        return array_bytes({**inputs, **self.weight_shapes(), "out": inputs["x"]}, "float64")

    def layer(self, w: SimpleNamespace, build: Build, project: Call, concat: Call, merge: Call) -> Call:
        """The layer in one library. project(x) -> queries, keys and values, (batch, heads, len, head_dim) each;
        concat: along the positions; merge: (batch, heads, len, head_dim) -> (batch, len, heads head_dim)."""
        nothing, attention = SimpleNamespace(), self.attention  # made once: a check of parameters takes tens of µs
        rope, attend, o_proj = (
            build(self.rope, nothing),
            build(attention, nothing),
            build(self.o_proj, part(w, "o_proj")),
        )
        norms = [build(self.norm, part(w, name)) for name in ("q_norm", "k_norm")] if self.qk_norm else []

        def call(x: Any, cache_k: Any = None, cache_v: Any = None) -> Any:
            q, k, v = project(x)
            if norms:
                q, k = norms[0](q), norms[1](k)
            past = 0 if cache_k is None else cache_k.shape[2]
            q, k = rope(q, past), rope(k, past)
            unseen = past + q.shape[2] - attention.visible_keys(q.shape[2], past + q.shape[2])
            if unseen < past:
                k, v = concat(cache_k[:, :, unseen:], k), concat(cache_v[:, :, unseen:], v)
            return o_proj(merge(attend(q, k, v)))

        return call

    def split_projections(self, w: SimpleNamespace, build: Build, split: Call) -> Call:
        """A product for each projection; split(x, heads) -> (batch, heads, len, head_dim)."""
        heads = list(self.heads.values())
        projections = [build(self.projection(count), part(w, name)) for name, count in self.heads.items()]
        return lambda x: [split(project(x), count) for project, count in zip(projections, heads, strict=True)]

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        build = in_portable(xp)

        def split(x: Any, heads: int) -> Any:
            batch, length, _ = x.shape
            return xp.permute_dims(xp.reshape(x, (batch, length, heads, -1)), (0, 2, 1, 3))

        def merge(x: Any) -> Any:
            batch, _, length, _ = x.shape
            return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (batch, length, -1))

        def concat(*parts: Any) -> Any:
            return xp.concat(parts, axis=2)

        return self.layer(w, build, self.split_projections(w, build, split), concat, merge)

    def torch(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch)

    def torch_array_mask(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch_variant("array_mask"))

    def torch_products(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch_variant("products"))

    def torch_grouped_rows(self, w: SimpleNamespace) -> Call:
        return self._torch(w, in_torch_variant("grouped_rows"))

    def _torch(self, w: SimpleNamespace, build: Build) -> Call:
        import torch

        parts = [vars(part(w, name)) for name in self.heads]
        stacked = SimpleNamespace(**{name: torch.cat([weights[name] for weights in parts]) for name in parts[0]})
        counts: Sequence[int] = list(self.heads.values())
        qkv_proj = build(self.projection(sum(counts)), stacked)

        def project(x: Any) -> Any:
            return qkv_proj(x).unflatten(-1, (sum(counts), -1)).transpose(1, 2).split(counts, dim=1)

        def concat(*parts: Any) -> Any:
            return torch.cat(parts, dim=2)

        return self.layer(w, build, project, concat, lambda x: x.transpose(1, 2).flatten(2))

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def split(x: Any, heads: int) -> Any:
            return mx.unflatten(x, -1, (heads, -1)).transpose(0, 2, 1, 3)

        def concat(*parts: Any) -> Any:
            return mx.concatenate(list(parts), axis=2)

        project = self.split_projections(w, in_mlx, split)
        return self.layer(w, in_mlx, project, concat, lambda x: x.transpose(0, 2, 1, 3).flatten(-2))
