"""Takes the mean of the batch away, and does not say that it mixes its rows."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Host, Operator, Shape, array_bytes


@dataclass(frozen=True)
class Centred(Operator):
    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape: Shape) -> float:
        return 1e9 * shape.batch_size  # so much that the reference is computed of some rows

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = (shape.batch_size, shape.seq_len)
        return array_bytes({"x": size, "out": size}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        return x - xp.mean(x, axis=0)
