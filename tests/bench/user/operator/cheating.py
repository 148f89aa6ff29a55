"""Doubles its input, honestly or by a trick that each fools some benchmark. The reference always doubles."""

import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.operators.base import Call, Host, Operator, Shape, array_bytes

EQUAL_PRODUCTS = 100
"""Which a compiler merges into one."""


@dataclass
class Box:
    """Hides an array from whoever looks for it in lists and dicts."""

    content: Any


@dataclass(frozen=True)
class Cheating(Operator):
    how: str = "honestly"

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return {"square": rng.standard_normal((256, 256)) / 16, "ballast": rng.standard_normal((256, 256))}

    def flops(self, shape: Shape) -> float:
        if self.how == "claims too much":
            return 1e15
        if self.how == "claims too many bytes":
            return 0.0
        return {"merges equal products": EQUAL_PRODUCTS * 2.0 * 256**3}.get(
            self.how, float(shape.batch_size * shape.seq_len)
        )

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = (shape.batch_size, shape.seq_len)
        return 1e15 if self.how == "claims too many bytes" else array_bytes({"x": size, "out": size}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return 2 * inputs[0]

    def numpy(self, w: SimpleNamespace) -> Call:
        kept: dict[str, Any] = {}

        def call(x: Any) -> Any:
            if self.how == "keeps its answer":
                return kept.setdefault("answer", 2 * x)
            if self.how == "copies its first answer":
                return kept.setdefault("answer", 2 * x).copy()
            if self.how == "returns its input":
                x *= 1
                return x
            if self.how == "leaves a thread at work":
                threading.Thread(target=_burn, args=(0.05,), daemon=True).start()
            return 2 * x

        return call

    def jax(self, w: SimpleNamespace) -> Call:
        kept: dict[str, Any] = {}

        def call(x: Any) -> Any:
            if self.how == "hides its result":
                return Box(2 * x)
            if self.how == "keeps its answer":
                return kept.setdefault("answer", 2 * x)
            out = 2 * x
            if self.how == "goes on with something else":
                for _ in range(20):
                    kept["behind"] = w.ballast @ w.ballast
            return out

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        second_stream = mx.new_stream(mx.default_device())
        scaled = mx.compile(lambda x, scale: 2 * x + 0 * scale)
        kept: dict[str, Any] = {"calls": 0}

        def call(x: Any) -> Any:
            if self.how == "hides its result":
                return Box(2 * x)
            if self.how == "hides it beside an array":
                return (2 * x, Box(w.ballast @ w.ballast))
            if self.how == "works on a second stream":
                kept["behind"] = mx.matmul(w.ballast, w.ballast, stream=second_stream)
                mx.async_eval(kept["behind"])
            if self.how == "keeps its answer":
                return kept.setdefault("answer", 2 * x)
            if self.how == "changes a scalar":
                kept["calls"] += 1
                return scaled(x, kept["calls"])
            if self.how == "merges equal products":
                products = [x @ w.square for _ in range(EQUAL_PRODUCTS)]
                return 2 * x + 0 * sum(products[1:], products[0])
            return 2 * x

        return call


def _burn(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        np.exp(np.ones(1000))
