"""Another way to write a LLaMA layer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "llama_block")):
    def torch_by_hand(self, w: SimpleNamespace) -> Call:
        """As someone does in plain torch, with the attention of gqa.py beside this file."""
        from torch.nn import functional as F

        weights = vars(w)
        attention = registry.load("operator", "gqa", str(Path(__file__).with_name("gqa.py")))
        own = {name: value for name, value in vars(self).items() if name in attention.__dataclass_fields__}
        projections = {
            n.removeprefix("self_attn."): array for n, array in weights.items() if n.startswith("self_attn.")
        }
        attend = attention(**own).torch_by_hand(SimpleNamespace(**projections))

        def norm(x: Any, name: str) -> Any:
            return F.rms_norm(x, (x.shape[-1],), weights[f"{name}.weight"], self.eps)

        def layer(x: Any, *cache: Any) -> Any:
            x = x + attend(norm(x, "input_layernorm"), *cache)
            normed = norm(x, "post_attention_layernorm")
            gate, up = (F.linear(normed, weights[f"mlp.{name}_proj.weight"]) for name in ("gate", "up"))
            return x + F.linear(F.silu(gate) * up, weights["mlp.down_proj.weight"])

        return layer
