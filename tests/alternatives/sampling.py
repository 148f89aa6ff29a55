"""Other ways to write sampling."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "sampling")):
    def torch_sorted(self, w: SimpleNamespace) -> Call:
        import torch

        def call(logits: Any, noise: Any) -> Any:
            values, ids = torch.topk(logits, self.k, sorted=True)
            choice = torch.argmax(values / self.temperature + noise.gather(-1, ids), -1, keepdim=True)
            return ids.gather(-1, choice).squeeze(-1)

        return call

    def torch_threshold(self, w: SimpleNamespace) -> Call:
        import torch

        def call(logits: Any, noise: Any) -> Any:
            least = torch.topk(logits, self.k).values[..., -1:]
            scores = torch.where(logits >= least, logits / self.temperature + noise, -torch.inf)
            return torch.argmax(scores, -1)

        return call

    def mlx_threshold(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def call(logits: Any, noise: Any) -> Any:
            least = mx.min(mx.topk(logits, self.k, axis=-1), axis=-1, keepdims=True)
            scores = mx.where(logits >= least, logits / self.temperature + noise, -mx.inf)
            return mx.argmax(scores, axis=-1)

        return call
