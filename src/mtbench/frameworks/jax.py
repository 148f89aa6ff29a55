"""JAX: on the CPU and on NVIDIA's and AMD's GPUs, operator by operator or through jax.jit.

JAX's forms of operators are in `_jax_forms.py` beside this file. All other operators run as their portable definitions.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks._jax_forms import FORMS, VARIANTS
from mtbench.frameworks.base import (
    Call,
    Description,
    Framework,
    Settings,
    leaves,
    process_peak_bytes,
    process_peak_kind,
    process_peak_reset,
    refuse,
)

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
"""What JAX reports to jax.monitoring whenever XLA has compiled something, an operator of eager mode too."""

PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32"}
"""mtbench's words, and those of `jax_default_matmul_precision`; JAX's own default is TF32 on GPUs that have it."""


class Jax(Framework):
    """JAX on one device, in 32 bits at most, as is its default."""

    library = "jax"
    forms = FORMS
    variants = VARIANTS

    def __init__(self, settings: Settings) -> None:
        # Read when the GPU is first used. By default JAX takes three quarters of its memory, which other workers need.
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        try:
            import jax
            import jax.monitoring
            import jax.numpy as jnp
        except ModuleNotFoundError as error:
            if error.name not in ("jax", "jaxlib"):
                raise
            raise Unsupported("JAX is not installed; install it with: pip install 'mtbench[jax]'") from None
        self.jax, self.jnp = jax, jnp
        self.device = _device(jax, settings.device, settings.device_index or 0)
        refuse(settings, "JAX", gpus=0 if self.device.platform == "cpu" else len(jax.devices("gpu")))
        self.kind = _device_kind(self.device)
        jax.config.update("jax_default_device", self.device)
        jax.config.update("jax_default_matmul_precision", PRECISIONS[settings.matmul_precision])
        self._compilations = 0
        jax.monitoring.register_event_duration_secs_listener(self._count)
        self.xp = _namespace(jax)
        self.wait = jax.block_until_ready
        self.array_type = type(self.array(np.ones(1), "float32"))  # jax.Array itself is abstract

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        kinds = {"f": dtype, "b": "bool"}
        kind = self.jnp.dtype(kinds.get(host.dtype.kind, "int32"))
        return self.wait(self.jax.device_put(host.astype(kind), self.device))

    def host(self, out: Any) -> NDArray[np.float64]:
        return np.asarray(out).astype(np.float64)

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, self.array_type)

    def copy(self, array: Any) -> Any:
        return self.wait(array.copy())

    @classmethod
    def keep_compiled_in(cls, folder: Path) -> None:
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # without it JAX keeps nothing

    def compile(self, call: Call, **usual: Any) -> Call:
        """jax.jit, with the arrays that the call holds, its weights, as arguments.

        A program written for JAX passes its parameters as arguments. As constants they would be part of the compiled code: XLA
        would take seconds to fold them and would keep a second copy.
        """
        jax = self.jax
        from jax.extend.core import jaxpr_as_fun

        held: list[Any] | None = None

        def with_weights(weights: list[Any], *inputs: Any) -> Any:
            closed, shapes = jax.make_jaxpr(call, return_shape=True)(*inputs)
            passed = {id(array): weight for array, weight in zip(held or [], weights, strict=True)}
            function = jaxpr_as_fun(closed.replace(consts=[passed.get(id(array), array) for array in closed.consts]))
            return jax.tree.unflatten(jax.tree.structure(shapes), function(*inputs))

        jitted = jax.jit(with_weights)

        def compiled(*inputs: Any) -> Any:
            nonlocal held
            if held is None:
                held = jax.make_jaxpr(call)(*inputs).consts
            return jitted(held, *inputs)

        return compiled

    def synchronize(self) -> None:
        # A GPU runs its work in order, so waiting for something new waits for all. On a CPU a new call would wake a thread,
        # which can take longer than the work that may be left.
        self.wait(self.jax.live_arrays() if self.kind == "cpu" else self.null()())

    def same(self, one: Any, other: Any) -> bool:
        return bool(one.unsafe_buffer_pointer() == other.unsafe_buffer_pointer())

    def null(self) -> Call:
        one = self.array(np.ones(1), "float32")
        return lambda: one + one

    def compilations(self) -> int | None:
        return self._compilations

    def _count(self, event: str, duration: float, **_: Any) -> None:
        self._compilations += event == COMPILE_EVENT

    def reset_peak(self) -> None:
        if self.kind == "cpu":
            process_peak_reset()

    def peak_bytes(self) -> int | None:
        if self.kind == "cpu":
            return process_peak_bytes()
        statistics = self.device.memory_stats() or {}
        return statistics.get("peak_bytes_in_use")

    def used_bytes(self) -> int | None:
        return None if self.kind == "cpu" else (self.device.memory_stats() or {}).get("bytes_in_use")

    def free_bytes(self) -> int | None:
        if self.kind == "cpu":
            return None
        statistics = self.device.memory_stats() or {}
        limit = statistics.get("bytes_limit")  # of the device's memory, what JAX may take: three quarters by default
        return None if limit is None else int(limit - statistics["bytes_in_use"])

    def clear(self) -> None:
        self.jax.clear_caches()

    def describe(self) -> Description:
        import jaxlib

        jax, client = self.jax, self.device.client
        return Description(
            library="jax",
            version=jax.__version__,
            device="cpu" if self.kind == "cpu" else "gpu",
            device_kind=self.kind,
            device_name=self.device.device_kind,
            threads=None,
            blas=_products(jax) if self.kind == "cpu" else None,
            peak_kind=process_peak_kind() if self.kind == "cpu" else "XLA's allocator, peak of all that the worker did",
            details={
                "jaxlib": jaxlib.__version__,
                "backend": " ".join(client.platform_version.split()),
                "default_matmul_precision": str(jax.config.jax_default_matmul_precision),
                "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            },
        )


def _device(jax: Any, device: str, index: int) -> Any:
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # before any device is used, so that no memory of the GPU is taken
        return jax.devices("cpu")[0]
    try:
        gpus = jax.devices("gpu")
        return gpus[index if index < len(gpus) else 0]  # `refuse` refuses a number that is not there
    except RuntimeError:
        if device == "auto":
            return jax.devices("cpu")[0]
        raise Unsupported(
            f"JAX {jax.__version__} sees no GPU here; for NVIDIA's, on Linux: pip install 'jax[cuda13]' or 'jax[cuda12]'"
        ) from None


def _device_kind(device: Any) -> str:
    if device.platform == "cpu":
        return "cpu"
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def _products(jax: Any) -> str:
    """What XLA's CPU backend computes a product with, by the code that it makes of one."""
    one = jax.ShapeDtypeStruct((256, 256), "float32")
    code = jax.jit(lambda x: x @ x).lower(one).compile().as_text()
    named = {"__ynn_fusion": "YNNPACK", "__xnn_fusion": "XNNPACK", "__onednn": "oneDNN"}
    return f"{next((name for word, name in named.items() if word in code), 'Eigen')} (in XLA)"


def _namespace(jax: Any) -> SimpleNamespace:
    """The functions of jax.numpy, whose arrays are placed on the default device, and `erf`."""
    names = {name: getattr(jax.numpy, name) for name in dir(jax.numpy) if not name.startswith("_")}
    return SimpleNamespace(**names, erf=jax.scipy.special.erf)
