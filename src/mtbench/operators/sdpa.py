"""Scaled dot-product attention."""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators._layers import head_size, torch_causal_mask
from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class ScaledDotProductAttention(Operator):
    """out = softmax(q k^T / sqrt(head_dim) + mask) v, per head.

    q: (batch, heads, seq, head_dim), k and v: (batch, heads, kv_len, head_dim) -> out as q. `head_dim` is
    embed_dim / num_heads where it is not given. Scores, mask, softmax and the second product are one fused call in both
    libraries. `causal` hides the future and is aligned bottom-right, the last query with the last key: query i sees key j
    where j <= i + kv_len - seq. Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    embed_dim: Size = 768
    num_heads: Size = 8
    head_dim: Size | None = None
    causal: bool = False

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        head_size(self.embed_dim, self.num_heads, self.head_dim)

    @property
    def head_size(self) -> int:
        return head_size(self.embed_dim, self.num_heads, self.head_dim)

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if self.causal and shape.key_len < shape.seq_len:
            raise ConfigError(
                f"causal=true with shape.kv_len={shape.key_len} below shape.seq_len={shape.seq_len} leaves the first "
                f"{shape.seq_len - shape.key_len} queries no key to attend to; give kv_len >= seq_len or causal=false."
            )

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        sizes = {"q": shape.seq_len, "k": shape.key_len, "v": shape.key_len}
        heads = (shape.batch_size, self.num_heads)
        return {name: rng.standard_normal((*heads, length, self.head_size)) for name, length in sizes.items()}

    def flops(self, shape: Shape) -> float:
        # two products, each a multiply-add per head, feature and pair of query and key that sees each other
        return 4.0 * shape.batch_size * self.num_heads * self.head_size * self.visible_pairs(shape)

    def visible_pairs(self, shape: Shape) -> int:
        # causal: query i of n sees all keys but the n - 1 - i last, so n (n - 1) / 2 of the n m pairs are hidden
        hidden = shape.seq_len * (shape.seq_len - 1) // 2 if self.causal else 0
        return shape.seq_len * shape.key_len - hidden

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        q = (shape.batch_size, self.num_heads, shape.seq_len, self.head_size)
        k = (shape.batch_size, self.num_heads, shape.key_len, self.head_size)
        return array_bytes({"q": q, "k": k, "v": k, "out": q}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        q, k, v = inputs
        scores = (q * self.head_size**-0.5) @ xp.permute_dims(k, (0, 1, 3, 2))
        if self.causal:
            queries, keys = scores.shape[-2:]
            last_seen = xp.arange(queries)[:, None] + (keys - queries)
            scores = xp.where(xp.arange(keys)[None, :] <= last_seen, scores, -float("inf"))
        e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return (e / xp.sum(e, axis=-1, keepdims=True)) @ v

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.compiler import is_compiling
        from torch.nn.attention.bias import causal_lower_right
        from torch.nn.functional import scaled_dot_product_attention

        if not self.causal:
            return lambda q, k, v: scaled_dot_product_attention(q, k, v)
        mask, lower_right = torch_causal_mask(seen=True), cache(causal_lower_right)

        def causal(q: Any, k: Any, v: Any) -> Any:
            queries, keys = q.shape[-2], k.shape[-2]
            if queries == keys:  # elsewhere wrong: torch aligns is_causal top-left
                return scaled_dot_product_attention(q, k, v, is_causal=True)
            if queries == 1:  # the last position sees every key
                return scaled_dot_product_attention(q, k, v)
            if (
                q.is_cuda
            ):  # flash kernels know this mask without its being made: a third faster than a boolean mask (H100)
                bias = causal_lower_right if is_compiling() else lower_right  # the compiler traces through no cache
                return scaled_dot_product_attention(q, k, v, attn_mask=bias(queries, keys))
            return scaled_dot_product_attention(q, k, v, attn_mask=mask(queries, keys, q.device))

        return causal

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.core.fast import scaled_dot_product_attention

        scale, mask = self.head_size**-0.5, "causal" if self.causal else None  # MLX's is aligned bottom-right
        return lambda q, k, v: scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
