"""Binary cross-entropy of logits."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators._layers import in_portable
from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes
from mtbench.operators.softplus import Softplus


@dataclass(frozen=True)
class BinaryCrossEntropy(Operator):
    """loss = -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) = softplus(x) - t x, of each element.

    logits x: (batch, seq, embed), targets t: the same shape, 0 or 1 in the dtype of the logits -> (batch, seq, embed). The
    losses of the elements are kept apart (reduction="none" in both libraries), so that each can be checked; no mean is
    taken. Definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html.
    """

    embed_dim: Size = 768

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size = (shape.batch_size, shape.seq_len, self.embed_dim)
        return {"logits": rng.standard_normal(size), "targets": rng.integers(2, size=size).astype(np.float64)}

    def flops(self, shape: Shape) -> float:
        # per element: exponential, sum and logarithm of softplus, product, subtraction
        return 5.0 * shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"logits": size, "targets": size, "out": size}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        softplus = in_portable(xp)(Softplus(self.embed_dim), w)
        return lambda logits, targets: softplus(logits) - targets * logits

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import binary_cross_entropy_with_logits

        return lambda logits, targets: binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def torch_softplus(self, w: SimpleNamespace) -> Call:
        """Softplus, and a product and a difference in one: torch's own function takes 1.3 times as long (H200)."""
        import torch
        from torch.nn.functional import softplus

        return lambda logits, targets: torch.addcmul(softplus(logits), targets, logits, value=-1)

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn.losses import binary_cross_entropy

        return lambda logits, targets: binary_cross_entropy(logits, targets, reduction="none")
