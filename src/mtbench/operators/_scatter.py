"""What the scatters share: rows of updates, and the row of a base that each goes to."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from mtbench.operators.base import INDEX_BYTES, Call, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Scatter(Operator):
    """Reduces rows of updates into the rows of a base that an index names, several updates into each row.

    base: (tokens, embed), index: (updates,), updates: (updates, embed) -> (tokens, embed), a new array; tokens is
    batch * seq, and updates are `updates_per_row` times as many. Each names a random row, so that some rows are named often
    and some never: a scatter has to take them as they come.
    """

    embed_dim: Size = 768
    updates_per_row: Size = 4

    independent_rows = False

    reduction: ClassVar[str]
    """What reduces two rows to one, by its name in the array API."""

    def sizes(self, shape: Shape) -> tuple[int, int]:
        """Rows of the base, and of the updates."""
        tokens = shape.batch_size * shape.seq_len
        return tokens, tokens * self.updates_per_row

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        tokens, updates = self.sizes(shape)
        return {
            "base": rng.standard_normal((tokens, self.embed_dim)),
            "index": rng.integers(0, tokens, updates),
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

    def output_axes(self, axes: int) -> tuple[str, ...]:
        return ("token", "feature")

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        # The array API has no scatter. So updates and base are sorted by the row that they belong to, each row of the base
        # behind its updates. Then each takes in its neighbours of the same row at distances of 1, 2, 4 and so on (the segmented
        # scan of Hillis and Steele). At the end each row of the base has taken in all of its updates.
        base, index, updates = inputs
        reduce = getattr(xp, self.reduction)
        count, tokens = updates.shape[0], base.shape[0]
        names = xp.concat([index, xp.arange(tokens, dtype=index.dtype)])
        order = xp.argsort(xp.concat([2 * index, 2 * names[count:] + 1]))
        names, rows = xp.take(names, order, axis=0), xp.take(xp.concat([updates, base]), order, axis=0)
        distance = 1
        while distance < count + tokens:
            reduced = reduce(rows[distance:], rows[:-distance])
            same = names[distance:] == names[:-distance]
            rows = xp.concat([rows[:distance], xp.where(same[:, None], reduced, rows[distance:])])
            distance *= 2
        return xp.take(rows, xp.argsort(order)[count:], axis=0)

    def numpy(self, w: SimpleNamespace) -> Call:
        reduce = getattr(np, self.reduction)

        def call(base: Any, index: Any, updates: Any) -> Any:
            out = base.copy()
            reduce.at(out, index, updates)
            return out

        return call
