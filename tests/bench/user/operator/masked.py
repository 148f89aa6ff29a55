"""softmax(where(mask, x, -inf)): an operator with a mask for an input."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Host, Operator, Shape, array_bytes


@dataclass(frozen=True)
class Masked(Operator):
    how: str = ""

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size = (shape.batch_size, shape.seq_len)
        mask = rng.random(size) < 0.5
        mask[:, 0] = True
        return {"x": rng.standard_normal(size), "mask": mask}

    def flops(self, shape: Shape) -> float:
        return 0.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return array_bytes({"x": (shape.batch_size, shape.seq_len)}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        x, mask = inputs
        # ~ of an integer 1 is -2, which is true: a mask that became numbers hides nothing here
        e = xp.exp(xp.where(~mask, -xp.ones_like(x) * 30, x))
        return e / xp.sum(e, axis=-1, keepdims=True)
