"""Scaled dot-product attention."""

from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators._layers import head_groups, head_size, mlx_causal_mask, torch_causal_mask
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes

SCORES_HELD = 3
"""By `portable`, at its peak: the scores, their exponentials, and the weights that these become."""

FEWEST_KEYS = 128
"""From so many keys on, plain products are faster on a CPU for one query in half precision than torch's fused attention: with 8
heads of 96 and 512 keys in bfloat16, 124 against 331 us, with 12 of 64 and 2048 keys 287 against 1357, in float16 1567 against
2277 (torch 2.13, AMD EPYC); with 64 keys 66 against 42."""


@dataclass(frozen=True)
class ScaledDotProductAttention(Operator):
    """out = softmax(q k^T / sqrt(head_dim) + bias + mask) v, per head.

    q: (batch, heads, seq, head_dim), k and v: (batch, kv_heads, kv_len, head_dim) -> out as q. `head_dim` is
    embed_dim / num_heads where it is not given. Scores, mask, softmax and the second product are one fused call in both
    libraries.

    - `num_kv_heads` (num_heads where it is not given): query heads h g to h g + g - 1 share head h of keys and values, where
      g = num_heads / num_kv_heads: grouped-query attention (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245);
      with 1, multi-query attention.
    - `causal` hides the future and is aligned bottom-right, the last query with the last key: query i sees key j where
      j <= p, its own position p = i + kv_len - seq.
    - `window` leaves each query the last keys alone, itself included: p - window < j <= p. Longformer (Beltagy et al. 2020,
      https://arxiv.org/abs/2004.05150), causal as in Mistral (Jiang et al. 2023, https://arxiv.org/abs/2310.06825). Keys
      that no query sees are never read.
    - `additive_bias` adds a further input to the scores: `bias`, (batch, heads, seq, kv_len), as ALiBi (Press et al. 2021,
      https://arxiv.org/abs/2108.12409) and T5 have it.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    num_kv_heads: Size | None = None
    head_dim: Size | None = None
    causal: bool = False
    window: Size | None = None
    additive_bias: bool = False

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
        """Of the inputs, with so many keys."""
        batch, heads, kv_heads = shape.batch_size, self.num_heads, self.num_heads // self.groups
        shapes: dict[str, Dimensions] = {
            "q": (batch, heads, shape.seq_len, self.head_size),
            "k": (batch, kv_heads, keys, self.head_size),
            "v": (batch, kv_heads, keys, self.head_size),
        }
        return shapes | ({"bias": (batch, heads, shape.seq_len, keys)} if self.additive_bias else {})

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {name: rng.standard_normal(size) for name, size in self.array_shapes(shape, shape.key_len).items()}

    def telling_inputs(self, rng: np.random.Generator, shape: Shape, dtype: str) -> dict[str, Host]:
        # In the mean over many keys one more or less is lost in rounding. Those at either end, where a loop or a mask goes
        # wrong, get values that weigh as much as all others together.
        inputs = self.inputs(rng, shape)
        inputs["v"][:, :, [0, -1]] *= shape.key_len**0.5
        return inputs

    def flops(self, shape: Shape) -> float:
        # two products, each a multiply-add per head, feature and pair of query and key that sees each other
        return 4.0 * shape.batch_size * self.num_heads * self.head_size * self.visible_pairs(shape)

    def visible_pairs(self, shape: Shape) -> int:
        if not self.causal:
            return shape.seq_len * shape.key_len
        past = shape.key_len - shape.seq_len
        seen = np.arange(past + 1, shape.key_len + 1)  # by the first query, by the second...
        return int(seen.sum() if self.window is None else np.minimum(seen, self.window).sum())

    def visible_keys(self, queries: int, keys: int) -> int:
        """How many keys, the last ones, at least one query sees."""
        return keys if self.window is None else min(keys, queries + self.window - 1)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        arrays = self.array_shapes(shape, self.visible_keys(shape.seq_len, shape.key_len))
        return array_bytes(arrays | {"out": arrays["q"]}, dtype)

    def host_bytes(self, shape: Shape) -> float:
        arrays = self.array_shapes(shape, shape.key_len)  # those out of a window's sight too
        return array_bytes(arrays | {"out": arrays["q"]}, "float64")

    def reference_bytes(self, shape: Shape) -> float:
        scores = (shape.batch_size, self.num_heads, shape.seq_len, self.visible_keys(shape.seq_len, shape.key_len))
        return SCORES_HELD * array_bytes({"scores": scores}, "float64")

    def in_sight(self, q: Any, k: Any, v: Any, bias: Any = None) -> tuple[Any, Any, Any, bool, bool]:
        """Keys, values and bias without the keys that no query sees; whether more need be hidden, and whether by causality
        alone: a single query sees every key that is left, and a window may be wider than what there is.

        Asks for no shape that is not needed: libraries make one anew each time, and this is in every timed call.
        """
        if self.window is None:
            return k, v, bias, self.causal and q.shape[2] > 1, True
        queries, keys = q.shape[2], self.visible_keys(q.shape[2], k.shape[2])
        if keys < k.shape[2]:
            k, v = k[:, :, -keys:], v[:, :, -keys:]
            bias = None if bias is None else bias[..., -keys:]
        return k, v, bias, queries > 1, self.window >= keys

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        q, *others = inputs
        k, v, bias, masked, causal = self.in_sight(q, *others)
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
            seen = key <= last_seen if causal else (key <= last_seen) & (key > last_seen - self.window)
            scores = xp.where(seen, scores, -float("inf"))
        e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        weights = e / xp.sum(e, axis=-1, keepdims=True)
        return xp.reshape(xp.reshape(weights, (*rows, keys)) @ v, q.shape)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.compiler import is_compiling
        from torch.nn.attention.bias import causal_lower_right

        attend = _torch_attention(self.groups)
        attend_unmade = attend if self.groups == 1 else partial(attend, made=False)
        seen, hidden = torch_causal_mask(True, self.window), torch_causal_mask(False, self.window)
        lower_right = cache(causal_lower_right)

        def call(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
            k, v, bias, masked, causal = self.in_sight(q, k, v, bias)
            if not masked:
                return attend(q, k, v) if bias is None else attend(q, k, v, attn_mask=bias)
            queries, keys = q.shape[2], k.shape[2]
            if bias is not None:
                return attend(q, k, v, attn_mask=bias.masked_fill(hidden(queries, keys, q.device), -torch.inf))
            if causal and queries == keys:  # elsewhere wrong: torch aligns is_causal top-left
                return attend(q, k, v, is_causal=True)
            if causal and q.is_cuda:
                # flash kernels know this mask without its being made: a third faster than a boolean mask (H100)
                mask = causal_lower_right if is_compiling() else lower_right  # the compiler traces through no cache
                return attend_unmade(q, k, v, attn_mask=mask(queries, keys))
            return attend(q, k, v, attn_mask=seen(queries, keys, q.device))

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx
        from mlx.core.fast import scaled_dot_product_attention

        scale, seen = self.head_size**-0.5, mlx_causal_mask(self.window)

        def call(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
            k, v, bias, masked, causal = self.in_sight(q, k, v, bias)
            mask = bias
            if masked and bias is not None:
                mask = mx.where(seen(q.shape[2], k.shape[2]), bias, -mx.inf)
            elif masked:  # MLX's own causal mask is aligned bottom-right
                mask = "causal" if causal else seen(q.shape[2], k.shape[2])
            return scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)

        return call


def _torch_attention(groups: int) -> Call:
    """torch's fused attention, where as many query heads share a head of keys and values, in the way that is fastest.

    `made`, an argument where heads are shared, says that a mask is an array, which flash kernels on CUDA do not take.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    def grouped(q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False, made: bool = True) -> Any:
        # Of the kernels that torch chooses on CUDA, flash alone takes groups, and neither float32 nor a mask that is an array.
        flash = q.is_cuda and q.dtype != torch.float32 and not (made and attn_mask is not None)
        if not flash and q.shape[2] == 1:
            # One query of each head: those of a group are as good as queries of one head. Flash, which divides the keys among
            # the processors, took a third of the time of that (H200, 8192 keys).
            rows = (q.shape[0], k.shape[1], groups)
            mask = None if attn_mask is None else attn_mask.reshape(*rows, -1)
            return scaled_dot_product_attention(q.reshape(*rows, -1), k, v, attn_mask=mask).reshape(q.shape)
        if q.is_cuda and not flash:  # with enable_gqa it would fall back to plain products
            k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
            return scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)
        return scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal, enable_gqa=True)

    def alone(q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False) -> Any:
        if q.is_cpu and q.dtype != torch.float32 and q.shape[2] == 1 and k.shape[2] >= FEWEST_KEYS:
            scores = torch.matmul(q * q.shape[3] ** -0.5, k.mT)
            return torch.matmul(torch.softmax(scores if attn_mask is None else scores + attn_mask, -1), v)
        return scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)

    return alone if groups == 1 else grouped
