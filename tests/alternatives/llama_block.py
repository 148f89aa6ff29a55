"""Another way to write a LLaMA layer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "llama_block")):
    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """As someone writes it in plain torch, as a module, with the attention of gqa.py beside this file."""
        from torch import nn
        from torch.nn import functional as F

        problem, weights = self, vars(w)
        attention = registry.load("operator", "gqa", str(Path(__file__).with_name("gqa.py")))
        own = {name: value for name, value in vars(self).items() if name in attention.__dataclass_fields__}
        parts = {n.removeprefix("self_attn."): array for n, array in weights.items() if n.startswith("self_attn.")}

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attend = attention(**own).torch_by_hand(SimpleNamespace(**parts))
                for name, array in weights.items():
                    if not name.startswith("self_attn."):
                        self.register_parameter(name.replace(".", "_"), nn.Parameter(array, requires_grad=False))

            def forward(self, x: Any, *cache: Any) -> Any:
                width = (x.shape[-1],)
                x = x + self.attend(F.rms_norm(x, width, self.input_layernorm_weight, problem.eps), *cache)
                normed = F.rms_norm(x, width, self.post_attention_layernorm_weight, problem.eps)
                gate, up = F.linear(normed, self.mlp_gate_proj_weight), F.linear(normed, self.mlp_up_proj_weight)
                return x + F.linear(F.silu(gate) * up, self.mlp_down_proj_weight)

        return Block()
