"""Other ways to write binary cross-entropy."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "binary_cross_entropy")):
    torch_softplus = registry.load("operator", "binary_cross_entropy").torch_softplus

    def torch_softplus_in_two(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        return lambda logits, targets: F.softplus(logits) - targets * logits

    def mlx_logaddexp(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        return lambda logits, targets: mx.logaddexp(logits, 0) - targets * logits
