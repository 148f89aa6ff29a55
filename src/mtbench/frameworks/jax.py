"""JAX: on the CPU and on NVIDIA's and AMD's GPUs, operator by operator or through jax.jit.

JAX has no forms of its own in the operators' files, so they stand here: what jax.nn has, and what a user would write with
statistics in float32. The rest runs as its portable definition.
"""

import os
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks.base import (
    Call,
    Description,
    Form,
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

CUDNN_HEAD_DIM = 128
"""The widest head of cuDNN's attention on every GPU that has it; they must also be multiples of 8."""

CUDNN_CAPABILITY = 8.0
"""Of the oldest GPUs that have it."""


def _linear(problem: Any, w: SimpleNamespace) -> Call:
    kernel, bias = w.weight.T, getattr(w, "bias", None)  # (in, out), as Flax keeps it: eager JAX has no views
    return (lambda x: x @ kernel) if bias is None else (lambda x: x @ kernel + bias)


def _layer_norm(problem: Any, w: SimpleNamespace) -> Call:
    from jax.nn import standardize

    weight, bias = w.weight, getattr(w, "bias", None)

    def call(x: Any) -> Any:
        out = standardize(x.astype("float32"), epsilon=problem.eps) * weight
        return (out if bias is None else out + bias).astype(x.dtype)

    return call


def _rms_norm(problem: Any, w: SimpleNamespace) -> Call:
    import jax.numpy as jnp
    from jax.lax import rsqrt

    weight = w.weight

    def call(x: Any) -> Any:
        wide = x.astype("float32")
        return (wide * rsqrt(jnp.square(wide).mean(-1, keepdims=True) + problem.eps) * weight).astype(x.dtype)

    return call


def _convolution(problem: Any, w: SimpleNamespace) -> Call:
    from jax.lax import conv_general_dilated

    weight, bias = w.weight, getattr(w, "bias", None)
    axes = weight.ndim - 2
    places = "DHW"[-axes:]
    convolve = partial(
        conv_general_dilated,
        window_strides=(problem.stride,) * axes,
        padding=((problem.padding, problem.padding),) * axes,
        dimension_numbers=(f"N{places}C", f"O{places}I", f"N{places}C"),
        feature_group_count=problem.groups,
    )
    return (lambda x: convolve(x, weight)) if bias is None else (lambda x: convolve(x, weight) + bias)


def _leaky_relu(problem: Any, w: SimpleNamespace) -> Call:
    from jax.nn import leaky_relu

    return partial(leaky_relu, negative_slope=problem.negative_slope)


def _gelu(problem: Any, w: SimpleNamespace) -> Call:
    from jax.nn import gelu

    approximate = problem.approximate == "tanh"
    return lambda x: gelu(x, approximate=approximate)


def _sdpa(problem: Any, w: SimpleNamespace) -> Call:
    import jax
    import jax.numpy as jnp

    scale = problem.head_size**-0.5
    cudnn = _has_cudnn(jax.config.jax_default_device) and problem.head_size % 8 == 0
    cudnn = cudnn and problem.head_size <= CUDNN_HEAD_DIM

    def call(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        k, v, bias, masked, causal = problem.in_sight(q, k, v, bias)
        batch, heads, queries, size = q.shape
        kv_heads, keys = k.shape[1], k.shape[2]
        window = None if causal else problem.window
        if cudnn and q.dtype != jnp.float32:
            is_causal = masked and causal and queries == keys  # elsewhere wrong: JAX aligns it top-left
            mask = _seen(queries, keys, window)[None, None] if masked and not is_causal else None
            q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
            attend = partial(jax.nn.dot_product_attention, is_causal=is_causal, implementation="cudnn")
            return jnp.swapaxes(attend(q, k, v, bias=bias, mask=mask), 1, 2)
        # Else that function is this, between transpositions; on a CPU it took from 1.2 to 8 times as long. The queries of
        # a group, all heads of them, are rows of one product with the keys that they share.
        rows = (batch, kv_heads, heads // kv_heads * queries)
        scores = jnp.matmul(q.reshape(*rows, size), jnp.swapaxes(k, 2, 3), preferred_element_type="float32") * scale
        scores = scores.reshape(batch, heads, queries, keys)
        if bias is not None:
            scores = scores + bias
        if masked:
            scores = jnp.where(_seen(queries, keys, window), scores, -jnp.inf)
        weights = jax.nn.softmax(scores).astype(v.dtype)
        return (weights.reshape(*rows, keys) @ v).reshape(q.shape)

    return call


def _has_cudnn(device: Any) -> bool:
    return _device_kind(device) == "cuda" and float(device.compute_capability) >= CUDNN_CAPABILITY


@cache
def _seen(queries: int, keys: int, window: int | None) -> Any:
    """Whether a query sees a key, aligned bottom-right; made once for a shape, and a constant to jax.jit."""
    import jax
    import jax.numpy as jnp

    with jax.ensure_compile_time_eval():
        mask = jnp.tri(queries, keys, keys - queries, dtype=bool)
        return mask if window is None else mask & ~jnp.tri(queries, keys, keys - queries - window, dtype=bool)


def _function_of_nn(name: str) -> Form:
    """A function of jax.nn that takes the operator's input and nothing else."""

    def form(problem: Any, w: SimpleNamespace) -> Call:
        import jax.nn

        function: Call = getattr(jax.nn, name)
        return function

    return form


FORMS: dict[str, Form] = {
    "linear": _linear,
    "softmax": _function_of_nn("softmax"),  # over the last axis; sums in float32
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "relu": _function_of_nn("relu"),
    "sigmoid": _function_of_nn("sigmoid"),
    "silu": _function_of_nn("silu"),
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "selu": _function_of_nn("selu"),
    "softplus": _function_of_nn("softplus"),
    "conv1d": _convolution,
    "conv2d": _convolution,
    "scatter_add": lambda problem, w: lambda base, index, updates: base.at[index].add(updates),
    "scatter_max": lambda problem, w: lambda base, index, updates: base.at[index].max(updates),
    "sdpa": _sdpa,
}
"""The operators for which JAX has something better than their definition in its array functions."""


class Jax(Framework):
    """JAX on one device, in 32 bits at most, as is its default."""

    library = "jax"
    forms = FORMS

    def __init__(self, settings: Settings) -> None:
        # Read when the GPU is first used; by default JAX takes three quarters of its memory, which others need here.
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

        A program written for JAX passes its parameters; as constants they would be part of the compiled code, which takes
        seconds to fold and keeps a second copy of them.
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
        # A GPU runs what it is given in order, so something new is the last to be done. On a CPU each new call would wake a
        # thread, which can take longer than the work that may be left.
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
        return gpus[index if index < len(gpus) else 0]  # whoever asks for one that is not there is refused
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
