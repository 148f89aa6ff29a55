"""Other ways to write grouped-query attention."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call

MOST_POSITIONS = 4096


class Alternatives(registry.load("operator", "gqa")):
    def torch_three_products(self, w: SimpleNamespace) -> Call:
        from mtbench.operators._layers import in_torch

        def split(x: Any, heads: int) -> Any:
            return x.unflatten(-1, (heads, -1)).transpose(1, 2)

        project = self.split_projections(w, in_torch, split)
        return self.layer(w, in_torch, project, None, lambda x: x.transpose(1, 2).flatten(2))

    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """As someone writes it in plain torch, as a module: without biases and windows, one query or no cache."""
        import torch
        from torch import nn
        from torch.nn import functional as F

        problem, weights, head_dim = self, vars(w), self.attention.head_size
        frequencies = self.theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        positions = torch.arange(MOST_POSITIONS, dtype=torch.float64)
        angles = torch.outer(positions, frequencies).repeat(1, 2)

        class Attention(nn.Module):
            cos: Any
            sin: Any

            def __init__(self) -> None:
                super().__init__()
                for name, array in weights.items():
                    self.register_parameter(name.replace(".", "_"), nn.Parameter(array, requires_grad=False))
                like = weights["q_proj.weight"]
                self.register_buffer("cos", angles.cos().to(like))
                self.register_buffer("sin", angles.sin().to(like))

            def projected(self, x: Any, name: str, heads: int) -> Any:
                out = F.linear(x, getattr(self, f"{name}_proj_weight")).view(*x.shape[:2], heads, head_dim)
                if problem.qk_norm and name != "v":
                    out = F.rms_norm(out, (head_dim,), getattr(self, f"{name}_norm_weight"), problem.eps)
                return out.transpose(1, 2)

            def forward(self, x: Any, *cache: Any) -> Any:
                batch, length, _ = x.shape
                past = cache[0].shape[2] if cache else 0
                cos, sin = self.cos[past : past + length], self.sin[past : past + length]
                q = rotated(self.projected(x, "q", problem.num_heads), cos, sin)
                k = rotated(self.projected(x, "k", problem.num_kv_heads), cos, sin)
                v = self.projected(x, "v", problem.num_kv_heads)
                if cache:
                    k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
                causal, shared = problem.causal and length > 1, problem.num_kv_heads < problem.num_heads
                out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=shared)
                return F.linear(out.transpose(1, 2).reshape(batch, length, -1), self.o_proj_weight)

        def rotated(x: Any, cos: Any, sin: Any) -> Any:
            first, second = x.chunk(2, dim=-1)
            return x * cos + torch.cat((-second, first), dim=-1) * sin

        return Attention()
