"""MLX: on Apple's GPU (Metal), on CUDA and on the CPU, op by op or through mx.compile."""

import functools
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks.base import Call, Description, Framework, Settings, leaves


class Mlx(Framework):
    """MLX on its default stream of one device."""

    library = "mlx"

    def __init__(self, settings: Settings) -> None:
        # Read once, when the first float32 product runs; on by default, which torch's is not.
        self.tf32 = "1" if settings.matmul_precision == "tf32" else "0"
        os.environ["MLX_ENABLE_TF32"] = self.tf32
        try:
            import mlx.core as mx
        except ModuleNotFoundError as error:
            if error.name not in ("mlx", "mlx.core"):
                raise
            raise Unsupported(
                "MLX is not installed; install it with: pip install mlx (macOS), 'mlx[cpu]' or 'mlx[cuda13]' (Linux)"
            ) from None
        except ImportError as error:
            if "libmlx" not in str(error):
                raise
            raise Unsupported(
                f"MLX is installed without a backend ({error}); on Linux: pip install 'mlx[cpu]' or 'mlx[cuda13]'"
            ) from None
        self.mx = mx
        self.xp = mx  # MLX names its functions as the array API does
        self.kind = _device_kind(mx, settings.device)
        mx.set_default_device(mx.cpu if self.kind == "cpu" else mx.gpu)
        self._streams = _record_streams(mx)
        self._traces = _count_traces(mx)
        self.wait = mx.eval
        self.submit = mx.async_eval

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        if np.issubdtype(host.dtype, np.floating):
            array = self.mx.array(host.astype(np.float32)).astype(getattr(self.mx, dtype))
        else:
            array = self.mx.array(host.astype(np.int32))  # what MLX itself makes of a Python integer
        self.mx.eval(array)
        return array

    def host(self, out: Any) -> NDArray[np.float64]:
        mx = self.mx
        values = out.astype(mx.float32) if mx.issubdtype(out.dtype, mx.floating) else out
        return np.array(values).astype(np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, self.mx.array)

    def compile(self, call: Call) -> Call:
        compiled: Call = self.mx.compile(call)
        return compiled

    def synchronize(self) -> None:
        for stream in self._streams:
            self.mx.synchronize(stream)
        self.mx.synchronize()

    def compilations(self) -> int | None:
        return self._traces[0]

    def settle(self, out: Any) -> None:
        self.mx.eval(self.leaves(out))
        self.synchronize()

    def null(self) -> Call:
        one = self.mx.ones(1)
        self.mx.eval(one)
        return lambda: one + one

    def reset_peak(self) -> None:
        self.mx.reset_peak_memory()

    def peak_bytes(self) -> int | None:
        return int(self.mx.get_peak_memory())

    def clear(self) -> None:
        self.mx.clear_cache()

    def describe(self) -> Description:
        return Description(
            library="mlx",
            version=version("mlx"),
            device="cpu" if self.kind == "cpu" else "gpu",
            device_kind=self.kind,
            device_name=_device_name(self.mx, self.kind),
            threads=None,
            blas=_loaded_blas() if self.kind == "cpu" else None,
            peak_kind="MLX's allocator, peak",
            details={
                "MLX_ENABLE_TF32": self.tf32,
                "compile": "disabled by MLX_DISABLE_COMPILE" if "MLX_DISABLE_COMPILE" in os.environ else "enabled",
            },
        )


def _record_streams(mx: Any) -> list[Any]:
    """Notes each stream that is made from now on: MLX waits for one stream at a time and lists none."""
    streams: list[Any] = []
    make = mx.new_stream

    @functools.wraps(make)
    def new_stream(*args: Any, **kwargs: Any) -> Any:
        streams.append(make(*args, **kwargs))
        return streams[-1]

    mx.new_stream = new_stream
    return streams


def _count_traces(mx: Any) -> list[int]:
    """Counts the compilations of everything that is given to mx.compile from now on.

    MLX says nothing when it compiles anew (for another shape, or another value of a Python scalar), but it does so by
    running the Python function, which it does not do otherwise.
    """
    count = [0]
    compile_ = mx.compile

    @functools.wraps(compile_)
    def counting(fun: Call, *args: Any, **kwargs: Any) -> Call:
        @functools.wraps(fun)
        def traced(*inputs: Any, **named: Any) -> Any:
            count[0] += 1
            return fun(*inputs, **named)

        compiled: Call = compile_(traced, *args, **kwargs)
        return compiled

    mx.compile = counting
    return count


def _device_kind(mx: Any, device: str) -> str:
    cuda = hasattr(mx, "cuda") and mx.cuda.is_available()  # since 0.29
    gpu = "metal" if mx.metal.is_available() else "cuda" if cuda else None
    if device == "cpu" or (device == "auto" and gpu is None):
        return "cpu"
    if gpu is None:
        raise Unsupported(f"MLX {version('mlx')} sees no GPU here: neither Metal nor CUDA is available to it.")
    return gpu


def _device_name(mx: Any, kind: str) -> str:
    """As MLX says it: every device has a description since 0.31; before, only Metal's had."""
    if not hasattr(mx, "device_info") and kind != "metal":
        return kind
    ask = getattr(mx, "device_info", None) or mx.metal.device_info
    return str(ask().get("device_name", kind))


def _loaded_blas() -> str | None:
    """The matrix library that MLX's CPU backend brought along: Accelerate on macOS, a shared library on Linux."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return "Accelerate"
    files = {Path(line.split()[-1]).name for line in maps.read_text().splitlines() if "blas" in line and "mlx" in line}
    named = [re.sub(r"-[0-9a-f]{8}", "", name) for name in sorted(files)]
    return ", ".join(named) or None
