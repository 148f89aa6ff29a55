"""MLX: on Apple's GPU (Metal), on CUDA and on the CPU, op by op or through mx.compile."""

import functools
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks import _blas
from mtbench.frameworks.base import Call, Description, Framework, Settings, leaves, refuse

LIMITS = {
    "wired_limit_bytes": "set_wired_limit",
    "cache_limit_bytes": "set_cache_limit",
    "memory_limit_bytes": "set_memory_limit",
}
"""Settings of MLX, and the functions of mlx.core that set them. MLX_METAL_FAST_SYNCH and others are environment variables."""


BLAS = "blas"
"""The setting that names a shared library for matrix products on the CPU on Linux, such as libopenblas.so.0, in place of the
one in MLX's package. It changes MLX only; LD_PRELOAD would change every library that calls a BLAS."""

REFERENCE_BLAS_FLOPS_PER_S = 2.6e9
"""The best rate of its products in float32 on an x86 server; in bfloat16 it is 1.3 times as high, in float16 lower."""


class Mlx(Framework):
    """MLX on its default stream of one device."""

    library = "mlx"
    own_settings = (*LIMITS, BLAS)

    @classmethod
    def slow_flops_per_s(cls, device: str, env: Mapping[str, str], own: Mapping[str, Any]) -> float | None:
        """The rate of the reference BLAS, which is in MLX's CPU package for Linux, unless another BLAS is loaded before it."""
        try:
            version("mlx-cpu")
        except PackageNotFoundError:
            return None
        return None if device == "gpu" or "LD_PRELOAD" in env or BLAS in own else REFERENCE_BLAS_FLOPS_PER_S

    def __init__(self, settings: Settings) -> None:
        # MLX reads it once, when the first float32 product runs. TF32 is on by default in MLX, and off in torch.
        self.tf32 = "1" if settings.matmul_precision == "tf32" else "0"
        os.environ["MLX_ENABLE_TF32"] = self.tf32
        own = dict(settings.own)
        if (blas := own.pop(BLAS, None)) is not None:
            _load_blas(str(blas))
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
        if settings.matmul_precision == "tf32" and (lack := _no_tf32(mx, self.kind)) is not None:
            raise Unsupported(f"{lack}; leave matmul_precision at highest.")
        # Threads: on the CPU MLX's matrix library reads their number from the environment; on a GPU it does not matter.
        refuse(settings, "MLX", threads=True, gpus=0 if self.kind == "cpu" else _gpus(mx))
        number = settings.device_index or 0
        mx.set_default_device(mx.cpu if self.kind == "cpu" else mx.Device(mx.gpu, number))
        self.limits = _set_limits(mx, own)
        self._streams = _record_streams(mx)
        self._traces = _count_traces(mx)
        self.wait = mx.eval
        self.submit = mx.async_eval

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        mx = self.mx
        kinds = {"f": (np.float32, getattr(mx, dtype)), "b": (np.bool_, mx.bool_)}
        read, kept = kinds.get(host.dtype.kind, (np.int32, mx.int32))  # what MLX itself makes of a Python integer
        # The second array is a copy made by the device, even of the same dtype. Memory that the host wrote would move to a
        # CUDA device in the first call that reads it. Without managed memory it would stay, and each call would read it over
        # the bus (https://github.com/ml-explore/mlx/issues/3861).
        array = mx.array(mx.array(host.astype(read)), kept)
        mx.eval(array)
        return array

    def adopt(self, call: Call, dtype: str) -> Call:
        import mlx.nn

        if isinstance(call, mlx.nn.Module):
            call.set_dtype(getattr(self.mx, dtype))
            call.eval()
            self.mx.eval(call.parameters())
        return call

    def host(self, out: Any) -> NDArray[np.float64]:
        mx = self.mx
        values = out.astype(mx.float32) if mx.issubdtype(out.dtype, mx.floating) else out
        return np.array(values).astype(np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, self.mx.array)

    def copy(self, array: Any) -> Any:
        copied = self.mx.array(array)
        self.mx.eval(copied)
        return copied

    def overwrite(self, array: Any, values: Any) -> Any:
        array[...] = self.copy(values)  # by itself, MLX would share the memory of `values`
        self.mx.eval(array)
        return array

    def stored_whole(self, array: Any) -> bool:
        return all(
            stride or side < 2 for stride, side in zip(memoryview(array).strides or (), array.shape, strict=True)
        )

    def compile(self, call: Call, **usual: Any) -> Call:
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

    def used_bytes(self) -> int | None:
        return int(self.mx.get_active_memory()) if hasattr(self.mx, "get_active_memory") else None

    def reset_peak(self) -> None:
        self.mx.reset_peak_memory()

    def peak_bytes(self) -> int | None:
        return int(self.mx.get_peak_memory())

    def working_set_bytes(self) -> int | None:
        recommended = _device_info(self.mx, self.kind).get("max_recommended_working_set_size")
        return None if self.kind != "metal" or recommended is None else int(recommended)

    def clear(self) -> None:
        self.mx.clear_cache()

    def describe(self) -> Description:
        info, tag = _device_info(self.mx, self.kind), wheel_tag()
        details = {} if tag is None else {"mlx_metal_wheel": tag}
        if self.kind != "cpu" and "architecture" in info:
            details["architecture"] = str(info["architecture"])
        return Description(
            library="mlx",
            version=version("mlx"),
            device="cpu" if self.kind == "cpu" else "gpu",
            device_kind=self.kind,
            device_name=str(info.get("device_name", self.kind)),
            threads=None,
            blas=_products(self.mx) if self.kind == "cpu" else None,
            peak_kind="MLX's allocator, peak",
            details=details
            | {
                "MLX_ENABLE_TF32": self.tf32,
                **{name: str(limit) for name, limit in self.limits.items()},
                "compile": "disabled by MLX_DISABLE_COMPILE" if "MLX_DISABLE_COMPILE" in os.environ else "enabled",
            },
        )


def _record_streams(mx: Any) -> list[Any]:
    """Records each stream that is made from now on: MLX can wait for one stream at a time, but has no list of streams."""
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

    MLX does not say when it compiles anew (for another shape, or another value of a Python scalar). But it then runs the Python
    function, and at no other time.
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


FIRST_TENSOR_GENERATION = 17
"""Of Apple's GPUs, as `applegpu_g17s` names them: M5, the first with matrix units that round float32 to TF32."""


def _device_kind(mx: Any, device: str) -> str:
    metal, lack = _metal(mx) if device != "cpu" else (False, None)
    cuda = hasattr(mx, "cuda") and mx.cuda.is_available()  # since 0.29
    gpu = "metal" if metal else "cuda" if cuda else None
    if device == "cpu" or (device == "auto" and gpu is None):
        return "cpu"
    if gpu is None:
        why = lack or "neither Metal nor CUDA is available to it"
        raise Unsupported(f"MLX {version('mlx')} sees no GPU here: {why}.")
    return gpu


def _metal(mx: Any) -> tuple[bool, str | None]:
    """Whether Metal gives MLX a device, or why not. `is_available` is a constant of the build: only a question to the device
    shows that a sandbox or a virtual machine has none."""
    if not mx.metal.is_available():
        return False, None
    try:
        _device_info(mx, "metal")
    except RuntimeError as error:
        return False, f"Metal gives it no device ({str(error).rstrip('.')})"
    return True, None


def _gpus(mx: Any) -> int:
    """How many GPUs MLX numbers; versions that do not say use one."""
    return int(mx.device_count(mx.gpu)) if hasattr(mx, "device_count") else 1


def _set_limits(mx: Any, limits: Mapping[str, Any]) -> dict[str, int]:
    """Sets limits of memory by name. Raises Unsupported for what MLX refuses."""
    for name, limit in limits.items():
        try:
            getattr(mx, LIMITS[name])(limit)
        except (TypeError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            raise Unsupported(f"framework.settings.{name}={limit} cannot be set in MLX: {said}") from None
    return dict(limits)


def _device_info(mx: Any, kind: str) -> dict[str, Any]:
    """What MLX says of a device: every device has a description since 0.31; before, only Metal's had."""
    if hasattr(mx, "device_info"):
        return dict(mx.device_info(mx.cpu if kind == "cpu" else mx.gpu))
    return dict(mx.metal.device_info()) if kind == "metal" else {}


def _no_tf32(mx: Any, kind: str) -> str | None:
    """Why TF32 would change nothing here, or None. A GPU that does not name its generation counts as new."""
    if kind == "cpu":
        return "MLX has no TF32 on the CPU"
    named = re.match(r"applegpu_g(\d+)", str(_device_info(mx, kind).get("architecture", "")))
    if named and int(named.group(1)) < FIRST_TENSOR_GENERATION:
        return f"This GPU ({named.group(0)}) has no TF32: MLX multiplies float32 in float32 on Apple's chips before M5"
    return None


def wheel_tag() -> str | None:
    """The build of MLX's Metal backend that pip installed, such as `py3-none-macosx_26_0_arm64`. One version has several
    builds, and only that for macOS 26 uses the matrix units of M5. pip chooses by the version of macOS that Python sees, which
    may be too old."""
    try:
        wheel = distribution("mlx-metal").read_text("WHEEL") or ""
    except PackageNotFoundError:
        return None
    return next((line.partition(":")[2].strip() for line in wheel.splitlines() if line.startswith("Tag:")), None)


def _load_blas(library: str) -> None:
    if platform.system() != "Linux":
        raise Unsupported(f"framework.settings.{BLAS} is for Linux only: elsewhere MLX has a fast BLAS.")
    try:
        _blas.load_first(library)
    except OSError as error:
        raise Unsupported(f"framework.settings.{BLAS}={library} cannot be loaded: {error}") from None


def _products(mx: Any) -> str | None:
    """The matrix library that MLX's CPU backend calls: Accelerate on macOS, a shared library on Linux."""
    if platform.system() == "Darwin":
        return "Accelerate"
    file = _blas.resolved("cblas_sgemm", mx.__file__)
    return None if file is None else _blas.shown(file)
