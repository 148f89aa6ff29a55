"""The maximum of rows and the rows that an index names."""

from dataclasses import dataclass
from types import SimpleNamespace

from mtbench.operators._scatter import Scatter
from mtbench.operators.base import Call


@dataclass(frozen=True)
class ScatterMax(Scatter):
    """out = base, and then out[index[i]] = max(out[index[i]], updates[i]) for every i, element by element.

    base: (tokens, embed), index: (updates,), updates: (updates, embed) -> (tokens, embed), a new array; tokens is
    batch * seq, and each is named `updates_per_row` times on average, at random. Source: torch.scatter_reduce with amax,
    https://docs.pytorch.org/docs/stable/generated/torch.Tensor.scatter_reduce_.html. It takes an index for each element, so the
    index is expanded over the columns, as a view; torch.index_reduce would take it as it is, but MPS lacks that.
    """

    exact = True

    reduction = "maximum"

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        return lambda base, index, updates: torch.scatter_reduce(
            base, 0, index[:, None].expand_as(updates), updates, "amax"
        )

    def mlx(self, w: SimpleNamespace) -> Call:
        return lambda base, index, updates: base.at[index].maximum(updates)
