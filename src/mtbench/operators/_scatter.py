"""What the scatters share: rows of updates, and the row of a base that each goes to."""

from abc import abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import INDEX_BYTES, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Scatter(Operator):
    """Reduces rows of updates into the rows of a base that an index names, several updates into each row.

    base: (tokens, embed), index: (updates,), updates: (updates, embed) -> (tokens, embed), a new array; tokens is
    batch * seq, and updates are `updates_per_row` times as many. Each row is named so many times, in random order, as where
    the outputs of a mixture of experts return to their tokens.
    """

    embed_dim: Size = 768
    updates_per_row: Size = 4

    independent_rows = False

    def sizes(self, shape: Shape) -> tuple[int, int]:
        """Rows of the base, and of the updates."""
        tokens = shape.batch_size * shape.seq_len
        return tokens, tokens * self.updates_per_row

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        tokens, updates = self.sizes(shape)
        return {
            "base": rng.standard_normal((tokens, self.embed_dim)),
            "index": rng.permutation(updates) % tokens,
            "updates": rng.standard_normal((updates, self.embed_dim)),
        }

    def flops(self, shape: Shape) -> float:
        return 1.0 * self.sizes(shape)[1] * self.embed_dim  # an addition or comparison for each value of the updates

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        tokens, updates = self.sizes(shape)
        base = (tokens, self.embed_dim)
        return array_bytes({"base": base, "updates": (updates, self.embed_dim), "out": base}, dtype) + (
            updates * INDEX_BYTES
        )

    @abstractmethod
    def reduce(self, xp: Any, base: Any, updates: Any) -> Any:
        """A base (tokens, embed) and all updates of each of its rows (tokens, updates_per_row, embed), reduced."""

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        # the array API has no scatter; but each row is named equally often, so that its updates can be gathered
        base, index, updates = inputs
        gathered = xp.take(updates, xp.argsort(index), axis=0)
        return self.reduce(xp, base, xp.reshape(gathered, (base.shape[0], self.updates_per_row, self.embed_dim)))
