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
