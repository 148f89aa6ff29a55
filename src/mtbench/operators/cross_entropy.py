"""Cross-entropy of logits and the indices of the true classes."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import INDEX_BYTES, Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class CrossEntropy(Operator):
    """loss = -log softmax(logits)_target = log sum_j exp(logits_j) - logits_target, of each token.

    logits: (batch, seq, vocab), targets: (batch, seq), indices below `vocab_size` -> (batch, seq). The losses of
    the tokens are kept apart (reduction="none" in both libraries), so that each can be checked; no mean is taken.
    Definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html.
    """

    vocab_size: Size = 32000

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        rows = (shape.batch_size, shape.seq_len)
        return {
            "logits": rng.standard_normal((*rows, self.vocab_size)),
            "targets": rng.integers(self.vocab_size, size=rows),
        }

    def flops(self, shape: Shape) -> float:
        # per logit: maximum, subtraction, exponential, sum; per token: logarithm, and its difference from a logit
        return shape.batch_size * shape.seq_len * (4.0 * self.vocab_size + 2.0)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        rows = (shape.batch_size, shape.seq_len)
        floats = array_bytes({"logits": (*rows, self.vocab_size), "out": rows}, dtype)
        return floats + shape.batch_size * shape.seq_len * INDEX_BYTES

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        logits, targets = inputs
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        wanted = xp.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
        return xp.log(xp.sum(xp.exp(shifted), axis=-1)) - wanted

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import cross_entropy

        def call(logits: Any, targets: Any) -> Any:
            # classes must be axis 1, so batch and seq become one axis: a view, where moving the classes would copy
            losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            return losses.view(targets.shape)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        from mlx.nn.losses import cross_entropy

        return lambda logits, targets: cross_entropy(logits, targets)

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        """As MLX's documentation recommends on the CPU, where it otherwise computes in the dtype of the logits, with larger
        errors."""
        import mlx.core as mx
        from mlx.nn.losses import cross_entropy

        return lambda logits, targets: cross_entropy(logits.astype(mx.float32), targets).astype(logits.dtype)
