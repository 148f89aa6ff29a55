"""Other ways to write cross-entropy."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "cross_entropy")):
    def torch_logsumexp(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda logits, targets: torch.logsumexp(logits, -1) - logits.gather(-1, targets[..., None])[..., 0]

    def torch_log_softmax(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        return lambda logits, targets: -F.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]

    def mlx_logsumexp(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda logits, targets: (
            mx.logsumexp(logits, axis=-1) - mx.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        )
