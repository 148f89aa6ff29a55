"""Doubles its input, or fails to, in the way that `how` names. The reference always doubles."""

import os
import signal
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import Unsupported
from mtbench.operators.base import Call, Host, Operator, Shape, array_bytes


@dataclass(frozen=True)
class Misbehaving(Operator):
    how: str = "well"

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape: Shape) -> float:
        return float(shape.batch_size * shape.seq_len)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        size = (shape.batch_size, shape.seq_len)
        return array_bytes({"x": size, "out": size}, dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return 2 * inputs[0]

    def numpy(self, w: SimpleNamespace) -> Call:
        calls = 0
        kept = []

        def call(x: Any) -> Any:
            nonlocal calls
            calls += 1
            if self.how == "leaks":
                kept.append(2 * x)
            if self.how == "hangs":
                time.sleep(3600)
            if self.how == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "exits":
                print("goodbye from the library", flush=True)
                os._exit(3)
            if self.how == "raises":
                raise ZeroDivisionError("a library's own error")
            if self.how == "exhausts memory":
                raise MemoryError
            if self.how == "is unsupported":
                raise Unsupported("not on this machine, for a reason")
            if self.how == "is wrong":
                return 2 * x + 0.01
            if self.how == "is wrong later":
                return 2 * x if calls < 20 else x
            if self.how == "gives NaN":
                return x * np.nan
            if self.how == "gives another shape":
                return 2 * x[:, :-1]
            if self.how == "gives no array":
                return "2x"
            if self.how == "prints":
                print('{"ok": false}', flush=True)
            return 2 * x

        return call
