"""The maximum of rows and the rows that an index names."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._scatter import Scatter
from mtbench.operators.base import Call


@dataclass(frozen=True)
class ScatterMax(Scatter):
    """out = base, and then out[index[i]] = max(out[index[i]], updates[i]) for every i, element by element.

    base: (tokens, embed), index: (updates,), updates: (updates, embed) -> (tokens, embed), a new array; tokens is
    batch * seq, and each is named `updates_per_row` times in the mean, at random. Source: torch.scatter_reduce with amax,
    https://docs.pytorch.org/docs/stable/generated/torch.Tensor.scatter_reduce_.html. Its index is one row's index expanded,
    a view, over the columns; torch.index_reduce would take it as it is, but is not there on MPS.
    """

    def reduce(self, xp: Any, one: Any, other: Any) -> Any:
        return xp.maximum(one, other)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda base, index, updates: torch.scatter_reduce(
            base, 0, index[:, None].expand_as(updates), updates, "amax"
        )

    def mlx(self, w: SimpleNamespace) -> Call:
        return lambda base, index, updates: base.at[index].maximum(updates)

    def numpy(self, w: SimpleNamespace) -> Call:
        import numpy as np

        def call(base: Any, index: Any, updates: Any) -> Any:
            out = base.copy()
            np.maximum.at(out, index, updates)
            return out

        return call
