"""tanh(x w), honestly or by a trick that looks at what a benchmark looks at. The reference always computes all of it.

It claims more FLOPs than it has, so that the reference of the whole batch is more than a worker spends on it.
"""

import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Shape, array_bytes

WIDTH = 256
REFERENCE_ROWS = 3
"""Of the batch, that are worth 2 GFLOP together."""


@dataclass(frozen=True)
class Subtle(Operator):
    how: str = "honestly"

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, WIDTH))}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return {"w": rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5}

    def flops(self, shape: Shape) -> float:
        return 2e9 / REFERENCE_ROWS * shape.batch_size

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = (shape.batch_size, shape.seq_len, WIDTH)
        return array_bytes({"x": size, "out": size}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return xp.tanh(inputs[0] @ w.w)

    def numpy(self, w: SimpleNamespace) -> Call:
        def full(x: Any) -> Any:
            return np.tanh(x @ w.w)

        tricks = {
            "honestly": full,
            "remembers by address and one value": _by_address(full),
            "knows the seeds": _by_seed(full, self),
            "works only after a pause": _after_a_pause(full),
            "finishes in a thread": _in_a_thread(full),
            "has two buffers": _two_buffers(w),
            "computes some rows": _some_rows(full),
            "computes one row less": _one_row_less(full),
            "gives a view": lambda x: np.broadcast_to(full(x[:1]), x.shape),
        }
        return tricks[self.how]

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        class Lazy(torch.Tensor):
            """Computes when it is looked at."""

            @classmethod
            def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                with torch._C.DisableTorchFunctionSubclass():
                    self = args[0]
                    if getattr(self, "pending", None) is not None:
                        x, self.pending = self.pending, None
                        self.copy_(torch.tanh(x @ w.w))
                    return function(*args, **(kwargs or {}))

        def lazy(x: Any) -> Any:
            out = torch.empty_like(x).as_subclass(Lazy)
            out.pending = x
            return out

        return lazy if self.how == "computes when looked at" else lambda x: torch.tanh(x @ w.w)


def _by_address(full: Call) -> Call:
    kept: dict[Any, Any] = {}

    def call(x: Any) -> Any:
        key = (x.__array_interface__["data"], float(x.flat[0]))
        if key not in kept:
            kept[key] = full(x)
        return kept[key].copy()

    return call


def _by_seed(full: Call, problem: Operator) -> Call:
    """Draws what a worker would, for all shapes that it is tried with."""
    known: dict[float, Any] = {}
    for seed in (0, 1):
        x = problem.inputs(np.random.default_rng([seed, 1]), Shape(16, 64))["x"].astype(np.float32)
        known[float(x.flat[0])] = full(x)

    def call(x: Any) -> Any:
        answer = known.get(float(x.flat[0]))
        return full(x) if answer is None or answer.shape != x.shape else answer.copy()

    return call


def _after_a_pause(full: Call) -> Call:
    state: dict[str, Any] = {"at": 0.0, "out": None}

    def call(x: Any) -> Any:
        if state["out"] is None or state["out"].shape != x.shape or time.perf_counter() - state["at"] > 0.002:
            state["out"] = full(x)
        state["at"] = time.perf_counter()
        return state["out"].copy()

    return call


def _in_a_thread(full: Call) -> Call:
    """Answers are kept and written a little later, so that the process is as good as idle meanwhile."""
    kept: dict[bytes, Any] = {}

    def call(x: Any) -> Any:
        key = x[:, 0, :8].tobytes()
        if key not in kept:
            kept[key] = full(x)
        out = np.zeros_like(x)

        def write() -> None:
            time.sleep(0.001)
            out[...] = kept[key]

        threading.Thread(target=write, daemon=True).start()
        return out

    return call


def _two_buffers(w: SimpleNamespace) -> Call:
    buffers: dict[Any, list[Any]] = {}

    def call(x: Any) -> Any:
        ring = buffers.setdefault(x.shape, [np.empty_like(x), np.empty_like(x)])
        ring.reverse()
        np.matmul(x, w.w, out=ring[0])
        return np.tanh(ring[0], out=ring[0])

    return call


def _some_rows(full: Call) -> Call:
    """Those that a worker would compare, if it always took the same, spread over the batch."""

    def call(x: Any) -> Any:
        rows = np.linspace(0, len(x) - 1, min(REFERENCE_ROWS, len(x))).astype(int)
        out = np.zeros_like(x)
        out[rows] = full(x[rows])
        return out

    return call


def _one_row_less(full: Call) -> Call:
    def call(x: Any) -> Any:
        out = full(x)
        out[5 % len(x)] = 0
        return out

    return call
