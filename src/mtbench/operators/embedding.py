"""Token embedding: rows of a table by their indices."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Embedding(Operator):
    """out[b, s] = weight[ids[b, s]].

    ids: (batch, seq), weight: (vocab, embed) -> (batch, seq, embed). No token occurs twice before all of the vocabulary have
    occurred. So it is known how many rows must be read: one for each token, at most the whole table. Source:
    https://docs.pytorch.org/docs/stable/generated/torch.nn.Embedding.html.
    """

    vocab_size: Size = 32000
    embed_dim: Size = 768

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        order = rng.permutation(self.vocab_size)
        return {
            "ids": np.resize(order, (shape.batch_size, shape.seq_len))
        }  # again from the start where it is too short

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return {"weight": rng.standard_normal((self.vocab_size, self.embed_dim))}

    def flops(self, shape: Shape) -> float:
        return 0.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        tokens = shape.batch_size * shape.seq_len
        read, written = (min(tokens, self.vocab_size), self.embed_dim), (tokens, self.embed_dim)
        return array_bytes({"weight": read, "out": written}, dtype) + tokens * INDEX_BYTES

    def host_bytes(self, shape: Shape) -> float:
        unread = max(self.vocab_size - shape.batch_size * shape.seq_len, 0)
        return super().host_bytes(shape) + unread * self.embed_dim * ITEM_BYTES["float64"]

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (ids,) = inputs
        rows = xp.take(w.weight, xp.reshape(ids, (-1,)), axis=0)
        return xp.reshape(rows, (*ids.shape, self.embed_dim))

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import embedding

        weight = w.weight
        return lambda ids: embedding(ids, weight)

    def mlx(self, w: SimpleNamespace) -> Call:
        weight = w.weight
        return lambda ids: weight[ids]

    def mlx_flattened(self, w: SimpleNamespace) -> Call:
        """By one axis of indices: 1.15 times as fast as by two on a GPU (H200), but not on a CPU."""
        weight = w.weight
        return lambda ids: weight[ids.flatten()].reshape(*ids.shape, self.embed_dim)

    exact = True
