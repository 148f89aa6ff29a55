"""What the elementwise activations share: one input of any values, and an output of its shape."""

from abc import ABC
from dataclasses import dataclass

import numpy as np

from mtbench.operators.base import Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Elementwise(Operator, ABC):
    """x: (batch, seq, embed) -> (batch, seq, embed), each element by itself."""

    embed_dim: Size = 768

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def elements(self, shape: Shape) -> int:
        return shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x}, dtype)
