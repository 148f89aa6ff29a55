"""A call whose true duration is known, since it watches the clock itself."""

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Positive, Shape, array_bytes


@dataclass(frozen=True)
class BusyWait(Operator):
    """Doubles x: (batch, seq) -> (batch, seq), and returns `duration_ms` after it was called, to within one look at the
    clock. It spins, because sleeping takes as long as the scheduler likes."""

    duration_ms: Positive = 1.0

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape: Shape) -> float:
        # one product per element
        return float(shape.batch_size * shape.seq_len)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len)
        return array_bytes({"x": x, "out": x}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return 2 * inputs[0]

    def numpy(self, w: SimpleNamespace) -> Call:
        clock, duration_ns = time.perf_counter_ns, round(self.duration_ms * 1e6)

        def call(x: Any) -> Any:
            until = clock() + duration_ns
            out = 2 * x
            while clock() < until:
                pass
            return out

        return call
