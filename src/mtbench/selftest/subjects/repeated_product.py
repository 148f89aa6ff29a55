"""A call of real work in known proportion: one matrix product, a number of times, or a few times more."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Shape, Size, array_bytes, random_weight


@dataclass(frozen=True)
class RepeatedProduct(Operator):
    """x @ weight, x: (batch, seq, width) -> (batch, seq, width), computed `passes` times, of which the last is returned.

    Its variants are contenders whose true ratio is known: `twin` does the same as the native form, and
    `one_percent_more` and `three_percent_more` compute so many products more, with the same result. `trial` numbers the
    cells of a sweep in which the same thing is measured again and again; it changes nothing.
    """

    passes: Size = 100
    width: Size = 64
    trial: int = 0

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.width))}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return {"weight": random_weight(rng, self.width, self.width)}

    def flops(self, shape: Shape) -> float:
        # of one product: the least that the result needs
        return 2.0 * shape.batch_size * shape.seq_len * self.width**2

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.width)
        return array_bytes({"x": x, "weight": (self.width, self.width), "out": x}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return inputs[0] @ w.weight

    def torch(self, w: SimpleNamespace) -> Call:
        from torch import matmul

        return _repeated(matmul, w.weight, self.passes)

    def torch_twin(self, w: SimpleNamespace) -> Call:
        return self.torch(w)

    def torch_one_percent_more(self, w: SimpleNamespace) -> Call:
        return self._more(0.01).torch(w)

    def torch_three_percent_more(self, w: SimpleNamespace) -> Call:
        return self._more(0.03).torch(w)

    def numpy(self, w: SimpleNamespace) -> Call:
        return _repeated(np.matmul, w.weight, self.passes)

    def numpy_twin(self, w: SimpleNamespace) -> Call:
        return self.numpy(w)

    def numpy_one_percent_more(self, w: SimpleNamespace) -> Call:
        return self._more(0.01).numpy(w)

    def numpy_three_percent_more(self, w: SimpleNamespace) -> Call:
        return self._more(0.03).numpy(w)

    def _more(self, fraction: float) -> "RepeatedProduct":
        return RepeatedProduct(round(self.passes * (1 + fraction)), self.width, self.trial)


def _repeated(product: Callable[[Any, Any], Any], weight: Any, passes: int) -> Call:
    def call(x: Any) -> Any:
        for _ in range(passes):
            out = product(x, weight)
        return out

    return call
