"""Another way to write an encoder layer: as someone does by hand, in plain torch."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "transformer_encoder_layer")):
    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """As someone writes it in plain torch, as a module, with the default parameters: norms first, biases, relu, no mask."""
        from torch import nn
        from torch.nn import functional as F

        problem, weights = self, vars(w)

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for name, array in weights.items():
                    self.register_parameter(name.replace(".", "_"), nn.Parameter(array, requires_grad=False))

            def forward(self, x: Any) -> Any:
                batch, length, width = x.shape
                normed = F.layer_norm(x, (width,), self.norm1_weight, self.norm1_bias, problem.eps)
                qkv = F.linear(normed, self.self_attn_in_proj_weight, self.self_attn_in_proj_bias)
                q, k, v = (each.view(batch, length, problem.num_heads, -1).transpose(1, 2) for each in qkv.chunk(3, -1))
                seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
                x = x + F.linear(seen, self.self_attn_out_proj_weight, self.self_attn_out_proj_bias)
                normed = F.layer_norm(x, (width,), self.norm2_weight, self.norm2_bias, problem.eps)
                inner = F.relu(F.linear(normed, self.linear1_weight, self.linear1_bias))
                return x + F.linear(inner, self.linear2_weight, self.linear2_bias)

        return Block()
