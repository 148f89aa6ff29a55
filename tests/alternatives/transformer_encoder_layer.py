"""Another way to write an encoder layer: as someone does by hand, in plain torch."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "transformer_encoder_layer")):
    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """Norms first, with biases, relu, and no mask, as the defaults say."""
        from torch.nn import functional as F

        weights = vars(w)

        def norm(x: Any, name: str) -> Any:
            return F.layer_norm(x, (x.shape[-1],), weights[f"{name}.weight"], weights[f"{name}.bias"], self.eps)

        def layer(x: Any) -> Any:
            batch, length, width = x.shape
            normed = norm(x, "norm1")
            qkv = F.linear(normed, weights["self_attn.in_proj_weight"], weights["self_attn.in_proj_bias"])
            q, k, v = (part.view(batch, length, self.num_heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
            seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
            x = x + F.linear(seen, weights["self_attn.out_proj.weight"], weights["self_attn.out_proj.bias"])
            inner = F.relu(F.linear(norm(x, "norm2"), weights["linear1.weight"], weights["linear1.bias"]))
            return x + F.linear(inner, weights["linear2.weight"], weights["linear2.bias"])

        return layer
