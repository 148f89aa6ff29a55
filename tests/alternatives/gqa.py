"""Other ways to write grouped-query attention."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "gqa")):
    def torch_three_products(self, w: SimpleNamespace) -> Call:
        from mtbench.operators._layers import in_torch

        def split(x: Any, heads: int) -> Any:
            return x.unflatten(-1, (heads, -1)).transpose(1, 2)

        project = self.split_projections(w, in_torch, split)
        return self.layer(w, in_torch, project, None, lambda x: x.transpose(1, 2).flatten(2))

    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """As someone does in plain torch: without biases and windows, one query or no cache."""
        import torch
        from torch.nn import functional as F

        weights = vars(w)
        heads, kv_heads, head_dim = self.num_heads, self.num_kv_heads, self.attention.head_size
        frequencies = self.theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        kept: dict[tuple[int, int], tuple[Any, Any]] = {}  # of the positions, computed once, as a model keeps them

        def tables(length: int, past: int, like: Any) -> tuple[Any, Any]:
            angles = torch.outer(torch.arange(past, past + length, dtype=torch.float64), frequencies).repeat(1, 2)
            return angles.cos().to(like), angles.sin().to(like)

        def projected(x: Any, name: str, heads: int) -> Any:
            out = F.linear(x, weights[f"{name}_proj.weight"]).view(*x.shape[:2], heads, head_dim)
            scale = weights.get(f"{name}_norm.weight")
            return (out if scale is None else F.rms_norm(out, (head_dim,), scale, self.eps)).transpose(1, 2)

        def rotated(x: Any, cos: Any, sin: Any) -> Any:
            first, second = x.chunk(2, dim=-1)
            return x * cos + torch.cat((-second, first), dim=-1) * sin

        def attention(x: Any, *cache: Any) -> Any:
            batch, length, _ = x.shape
            place = length, cache[0].shape[2] if cache else 0
            if place not in kept:
                kept[place] = tables(*place, x)
            q = rotated(projected(x, "q", heads), *kept[place])
            k = rotated(projected(x, "k", kv_heads), *kept[place])
            v = projected(x, "v", kv_heads)
            if cache:
                k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
            causal = self.causal and length > 1
            out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=kv_heads < heads)
            return F.linear(out.transpose(1, 2).reshape(batch, length, -1), weights["o_proj.weight"])

        return attention
