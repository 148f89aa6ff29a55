"""Scaled dot-product attention."""

from dataclasses import dataclass
from functools import cache, partial
from math import prod
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators._layers import head_groups, head_size, mlx_causal_mask, torch_causal_mask
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes

SEEN = 0.75
"""The part of the keys that a random mask leaves."""

SCORES_HELD = 3
"""Arrays as large as the scores that `portable` holds at its peak: the scores, their exponentials, and the weights that these
become."""


@dataclass(frozen=True)
class ScaledDotProductAttention(Operator):
    """out = softmax(q k^T / sqrt(head_dim) + bias + mask) v, per head.

    q: (batch, heads, seq, head_dim), k and v: (batch, kv_heads, kv_len, head_dim) -> out as q. `head_dim` is
    embed_dim / num_heads where it is not given. Scores, mask, softmax and the second product are one fused call in both
    libraries; in torch a causal mask is `is_causal`, or torch.nn.attention.bias.causal_lower_right with more keys than queries.
    Variants in torch: `array_mask` gives that mask as a boolean array. `products` is two products with a softmax between them,
    which is faster for one query in half precision on some CPUs. Where heads are shared, `repeated_heads` and `grouped_rows`
    are for kernels that know no groups. Variants in JAX: `cudnn` asks for cuDNN's kernel; `products` is as in torch.

    - `num_kv_heads` (num_heads where it is not given): query heads h g to h g + g - 1 share head h of keys and values, where
      g = num_heads / num_kv_heads: grouped-query attention (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245);
      with 1, multi-query attention.
    - `causal` hides the future and is aligned bottom-right, the last query with the last key: query i sees key j where
      j <= p, its own position p = i + kv_len - seq.
    - `window`: each query sees only the last `window` keys, its own included: p - window < j <= p. Longformer (Beltagy et al.
      2020, https://arxiv.org/abs/2004.05150), causal as in Mistral (Jiang et al. 2023, https://arxiv.org/abs/2310.06825). Keys
      that no query sees are never read.
    - `additive_bias` adds a further input to the scores: `bias`, (batch, heads, seq, kv_len), as ALiBi (Press et al. 2021,
      https://arxiv.org/abs/2108.12409) and T5 have it.
    - `mask` is a further input, true where a query sees a key: `boolean`, (batch, heads, seq, kv_len), `broadcast`, the same
      for all heads, (batch, 1, seq, kv_len), or `padding`, (batch, 1, 1, kv_len), which hides the first keys of the shorter
      sequences of a batch. `causal` applies as well. FLOPs are counted as if there were no such mask. With padding a query may
      see no key at all: its output, which nobody uses, is 0 in torch and a mean of values in MLX and JAX, and is not compared.
    - `v_head_dim` is the width of a head of values, and of the output, where it is not that of queries and keys, as in the
      latent attention of DeepSeek-V2 (https://arxiv.org/abs/2405.04434).

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    num_kv_heads: Size | None = None
    head_dim: Size | None = None
    causal: bool = False
    window: Size | None = None
    additive_bias: bool = False
    mask: Literal["none", "boolean", "broadcast", "padding"] = "none"
    v_head_dim: Size | None = None

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        head_size(self.embed_dim, self.num_heads, self.head_dim)
        head_groups(self.num_heads, self.num_kv_heads)
        if self.window is not None and not self.causal:
            raise ConfigError(f"window={self.window} slides over the past, so it needs causal=true.")

    @property
    def head_size(self) -> int:
        return head_size(self.embed_dim, self.num_heads, self.head_dim)

    @property
    def v_head_size(self) -> int:
        return self.v_head_dim or self.head_size

    @property
    def groups(self) -> int:
        """How many query heads share one head of keys and values."""
        return head_groups(self.num_heads, self.num_kv_heads)

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if self.causal and shape.key_len < shape.seq_len:
            raise ConfigError(
                f"causal=true with shape.kv_len={shape.key_len} below shape.seq_len={shape.seq_len} leaves the first "
                f"{shape.seq_len - shape.key_len} queries no key to attend to; give kv_len >= seq_len or causal=false."
            )

    def array_shapes(self, shape: Shape, keys: int) -> dict[str, Dimensions]:
        """The shapes of the inputs, with `keys` keys."""
        batch, heads, kv_heads = shape.batch_size, self.num_heads, self.num_heads // self.groups
        shapes: dict[str, Dimensions] = {
            "q": (batch, heads, shape.seq_len, self.head_size),
            "k": (batch, kv_heads, keys, self.head_size),
            "v": (batch, kv_heads, keys, self.v_head_size),
        }
        return shapes | ({"bias": (batch, heads, shape.seq_len, keys)} if self.additive_bias else {})

    def mask_shape(self, shape: Shape, keys: int) -> Dimensions:
        """The shape of the mask that is an input, with `keys` keys; (0,) where there is none."""
        heads = self.num_heads if self.mask == "boolean" else 1
        queries = 1 if self.mask == "padding" else shape.seq_len
        return (0,) if self.mask == "none" else (shape.batch_size, heads, queries, keys)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        arrays = {name: rng.standard_normal(size) for name, size in self.array_shapes(shape, shape.key_len).items()}
        return arrays if self.mask == "none" else arrays | {"mask": self._draw_mask(rng, shape)}

    def _draw_mask(self, rng: np.random.Generator, shape: Shape) -> Host:
        """Padding: sequences of random lengths at the end of their rows; where there are several, the last has length 0. Any
        other mask hides a quarter of the keys, but never a query's own."""
        keys = np.arange(shape.key_len)
        if self.mask == "padding":
            lengths = rng.integers(1, shape.key_len + 1, shape.batch_size)
            lengths[1:][-1:] = 0
            return np.asarray(keys >= shape.key_len - lengths[:, None, None, None])
        own = (np.arange(shape.seq_len)[:, None] + shape.key_len - shape.seq_len) % shape.key_len
        return np.asarray((rng.random(self.mask_shape(shape, shape.key_len)) < SEEN) | (keys == own))

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        if self.mask != "padding":
            return outputs
        seen, (queries, keys) = inputs[-1], (inputs[0].shape[2], inputs[1].shape[2])
        if self.causal:
            seen = seen & np.tri(queries, keys, keys - queries, dtype=bool)
        if self.window is not None:
            seen = seen & ~np.tri(queries, keys, keys - queries - self.window, dtype=bool)
        return [np.where(seen.any(-1, keepdims=True), out, 0.0) for out in outputs]

    def telling_inputs(self, rng: np.random.Generator, shape: Shape, dtype: str) -> dict[str, Host]:
        # In a mean over many keys, one key more or less is lost in rounding. The keys at both ends, where loops and masks go
        # wrong, get values that weigh as much as all others together.
        inputs = self.inputs(rng, shape)
        inputs["v"][:, :, [0, -1]] *= shape.key_len**0.5
        return inputs

    def flops(self, shape: Shape) -> float:
        # two products, a multiply-add per head, feature and pair of query and key that sees each other
        features = self.head_size + self.v_head_size
        return 2.0 * shape.batch_size * self.num_heads * features * self.visible_pairs(shape)

    def visible_pairs(self, shape: Shape) -> int:
        if not self.causal:
            return shape.seq_len * shape.key_len
        past = shape.key_len - shape.seq_len
        seen = np.arange(past + 1, shape.key_len + 1)  # by the first query, by the second...
        return int(seen.sum() if self.window is None else np.minimum(seen, self.window).sum())

    def visible_keys(self, queries: int, keys: int) -> int:
        """How many keys at least one query sees; they are the last ones."""
        return keys if self.window is None else min(keys, queries + self.window - 1)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return self._bytes(shape, self.visible_keys(shape.seq_len, shape.key_len), dtype)

    def host_bytes(self, shape: Shape) -> float:
        return self._bytes(shape, shape.key_len, "float64")  # those out of a window's sight too

    def _bytes(self, shape: Shape, keys: int, dtype: str) -> float:
        arrays = self.array_shapes(shape, keys)
        return array_bytes(arrays | {"out": (*arrays["q"][:3], self.v_head_size)}, dtype) + prod(
            self.mask_shape(shape, keys)
        )

    def reference_bytes(self, shape: Shape) -> float:
        scores = (shape.batch_size, self.num_heads, shape.seq_len, self.visible_keys(shape.seq_len, shape.key_len))
        return SCORES_HELD * array_bytes({"scores": scores}, "float64")

    def in_sight(self, q: Any, k: Any, v: Any, *others: Any) -> tuple[Any, Any, Any, Any, bool, bool]:
        """Keys, values, bias and mask without the keys that no query sees; whether some queries see fewer than these; and
        whether causality alone hides the rest, since the window is at least as wide as what is left.

        Reads no shape that is not needed: libraries make a new object each time, and this is part of every timed call.
        """
        bias = others[0] if self.additive_bias else None
        mask = others[-1] if self.mask != "none" else None
        if self.window is None:
            return k, v, bias, mask, self.causal and q.shape[2] > 1, True
        queries, keys = q.shape[2], self.visible_keys(q.shape[2], k.shape[2])
        if keys < k.shape[2]:
            k, v = k[:, :, -keys:], v[:, :, -keys:]
            bias, mask = (None if each is None else each[..., -keys:] for each in (bias, mask))
        return k, v, bias, mask, queries > 1, self.window >= keys

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        q, *others = inputs
        k, v, bias, seen, masked, causal = self.in_sight(q, *others)
        batch, heads, queries, size = q.shape
        kv_heads, keys = k.shape[1], k.shape[2]
        # a group's queries, all heads of them, are rows of one product with the keys that they share
        rows = (batch, kv_heads, self.groups * queries)
        scores = xp.reshape(q * size**-0.5, (*rows, size)) @ xp.permute_dims(k, (0, 1, 3, 2))
        scores = xp.reshape(scores, (batch, heads, queries, keys))
        if bias is not None:
            scores = scores + bias
        if masked:
            last_seen = xp.arange(queries)[:, None] + (keys - queries)
            key = xp.arange(keys)[None, :]
            past = key <= last_seen if causal else (key <= last_seen) & (key > last_seen - self.window)
            seen = past if seen is None else seen & past
        if seen is not None:
            scores = xp.where(seen, scores, -float("inf"))
        largest = xp.max(scores, axis=-1, keepdims=True)
        if self.mask == "padding":  # of a query that sees nothing
            largest = xp.where(largest > -float("inf"), largest, xp.zeros_like(largest))
        e = xp.exp(scores - largest)
        total = xp.sum(e, axis=-1, keepdims=True)
        if self.mask == "padding":
            total = xp.where(total > 0, total, xp.ones_like(total))
        return xp.reshape(xp.reshape(e / total, (*rows, keys)) @ v, (batch, heads, queries, self.v_head_size))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import scaled_dot_product_attention

        shared = {"enable_gqa": True} if self.groups > 1 else {}
        return self._torch(partial(scaled_dot_product_attention, **shared) if shared else scaled_dot_product_attention)

    def torch_repeated_heads(self, w: SimpleNamespace) -> Call:
        """Each head of keys and values repeated for its group, for kernels that take no groups."""
        from torch.nn.functional import scaled_dot_product_attention

        self._refuse_ungrouped("repeated_heads")
        groups = self.groups

        def attend(q: Any, k: Any, v: Any, **mask: Any) -> Any:
            k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
            return scaled_dot_product_attention(q, k, v, **mask)

        return self._torch(attend)

    def torch_grouped_rows(self, w: SimpleNamespace) -> Call:
        """The queries of all heads of a group as rows of one head, as if they were more queries."""
        from torch.nn.functional import scaled_dot_product_attention

        self._refuse_ungrouped("grouped_rows")
        groups = self.groups

        def attend(q: Any, k: Any, v: Any, attn_mask: Any = None) -> Any:
            batch, heads, queries, size = q.shape
            rows = (batch, k.shape[1], groups * queries)
            if attn_mask is not None and attn_mask.dim() == 4 and attn_mask.shape[1] == heads:
                attn_mask = attn_mask.reshape(*rows, -1)
            elif attn_mask is not None and attn_mask.shape[-2] == queries:
                attn_mask = attn_mask.repeat(*[1] * (attn_mask.dim() - 2), groups, 1)
            out = scaled_dot_product_attention(q.reshape(*rows, size), k, v, attn_mask=attn_mask)
            return out.reshape(batch, heads, queries, -1)

        return self._torch(attend, masks_are_arrays=True)

    def torch_array_mask(self, w: SimpleNamespace) -> Call:
        """The bottom-right causal mask as an array that is made once. Kernels that do not know torch's causal_lower_right make
        that array anew in each call."""
        from torch.nn.functional import scaled_dot_product_attention

        shared = {"enable_gqa": True} if self.groups > 1 else {}
        return self._torch(partial(scaled_dot_product_attention, **shared), masks_are_arrays=True)

    def torch_products(self, w: SimpleNamespace) -> Call:
        """Two products with a softmax between them."""
        import torch

        groups, scale = self.groups, self.head_size**-0.5

        def attend(q: Any, k: Any, v: Any, attn_mask: Any = None) -> Any:
            batch, heads, queries, size = q.shape
            rows = (batch, heads // groups, groups * queries)
            scores = torch.matmul((q * scale).reshape(*rows, size), k.mT).view(batch, heads, queries, -1)
            if attn_mask is not None:
                masked = attn_mask.dtype == torch.bool
                least = torch.finfo(scores.dtype).min  # not infinite: a row that sees nothing has a mean and no NaN
                scores = scores.masked_fill(~attn_mask, least) if masked else scores + attn_mask
            return torch.matmul(torch.softmax(scores, -1).view(*rows, -1), v).view(batch, heads, queries, -1)

        return self._torch(attend, masks_are_arrays=True)

    def _refuse_ungrouped(self, variant: str) -> None:
        if self.groups == 1:
            raise Unsupported(f"operator.variant={variant} is for query heads that share keys; give num_kv_heads.")

    def _torch(self, attend: Call, masks_are_arrays: bool = False) -> Call:
        """The call, from a function that takes what torch's own takes: attend(q, k, v, attn_mask, is_causal). With
        `masks_are_arrays` it takes masks as arrays only."""
        import torch
        from torch.compiler import is_compiling
        from torch.nn.attention.bias import causal_lower_right

        seen, hidden = torch_causal_mask(True, self.window), torch_causal_mask(False, self.window)
        lower_right = cache(causal_lower_right)

        def call(q: Any, k: Any, v: Any, *others: Any) -> Any:
            k, v, bias, mask, masked, causal = self.in_sight(q, k, v, *others)
            if mask is not None:
                mask = mask & seen(q.shape[2], k.shape[2], q.device) if masked else mask
                if bias is not None:  # half of the least number, so that the sum with a score stays finite
                    mask = bias.masked_fill(~mask, torch.finfo(bias.dtype).min / 2)
                return attend(q, k, v, attn_mask=mask)
            if not masked:
                return attend(q, k, v) if bias is None else attend(q, k, v, attn_mask=bias)
            queries, keys = q.shape[2], k.shape[2]
            if bias is not None:
                return attend(q, k, v, attn_mask=bias.masked_fill(hidden(queries, keys, q.device), -torch.inf))
            if masks_are_arrays or not causal:
                return attend(q, k, v, attn_mask=seen(queries, keys, q.device))
            if queries == keys:  # only then: torch aligns is_causal top-left
                return attend(q, k, v, is_causal=True)
            mask = causal_lower_right if is_compiling() else lower_right  # the compiler traces through no cache
            return attend(q, k, v, attn_mask=mask(queries, keys))

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx
        from mlx.core.fast import scaled_dot_product_attention

        scale, seen = self.head_size**-0.5, mlx_causal_mask(self.window)

        def call(q: Any, k: Any, v: Any, *others: Any) -> Any:
            k, v, bias, mask, masked, causal = self.in_sight(q, k, v, *others)
            if masked and (mask is not None or bias is not None):
                past = seen(q.shape[2], k.shape[2])
                mask = past if mask is None else mask & past
            elif masked:  # MLX's own causal mask is aligned bottom-right
                mask = "causal" if causal else seen(q.shape[2], k.shape[2])
            if bias is not None:  # half of the least number, so that the sum with a score stays finite
                mask = bias if mask is None else mx.where(mask, bias, mx.finfo(bias.dtype).min / 2)
            return scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)

        return call
