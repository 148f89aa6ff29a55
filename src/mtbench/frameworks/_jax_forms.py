"""JAX's forms of the operators: what jax.nn has, and what a user would write with statistics in float32."""

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from mtbench.errors import Unsupported
from mtbench.frameworks.base import Call, Form

CUDNN_HEAD_DIM = 128
"""The widest head that cuDNN's attention takes on every GPU that has it. A head's width must also be a multiple of 8."""

CUDNN_CAPABILITY = 8.0
"""The compute capability of the oldest GPUs that have it."""


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


def _top_k(problem: Any, w: SimpleNamespace) -> Call:
    from jax.lax import top_k

    return lambda x: tuple(top_k(x, problem.k))


def _moe_mlp(problem: Any, w: SimpleNamespace) -> Call:
    """Tokens sorted by expert, and jax.lax.ragged_dot."""
    import jax
    import jax.numpy as jnp

    stored = vars(w)
    gate = stored["gate.weight"].T
    gates, ups, downs = (
        jnp.swapaxes(stored[f"experts.{name}.weight"], 1, 2) for name in ("gate_proj", "up_proj", "down_proj")
    )
    act = FORMS[problem.act.key()](problem.act, SimpleNamespace())
    count = problem.experts_per_token

    def call(x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        p, experts = jax.lax.top_k(jax.nn.softmax(jnp.matmul(rows, gate, preferred_element_type="float32")), count)
        if problem.norm_topk_prob:
            p = p / p.sum(-1, keepdims=True)
        order = jnp.argsort(experts.reshape(-1))
        token, sizes = order // count, jnp.bincount(experts.reshape(-1), length=problem.num_experts)
        seen = rows[token]
        inside = act(jax.lax.ragged_dot(seen, gates, sizes)) * jax.lax.ragged_dot(seen, ups, sizes)
        out = jax.lax.ragged_dot(inside, downs, sizes) * p.astype(x.dtype).reshape(-1)[order, None]
        return jnp.zeros_like(rows).at[token].add(out).reshape(x.shape)

    return call


def _dot_product_attention(problem: Any, w: SimpleNamespace, implementation: str | None = None) -> Call:
    """JAX's own function, which takes (batch, positions, heads, head_dim)."""
    import jax
    import jax.numpy as jnp

    if problem.v_head_size != problem.head_size:
        raise Unsupported(
            "jax.nn.dot_product_attention takes only values as wide as keys; operator.variant=products takes v_head_dim."
        )

    def call(q: Any, k: Any, v: Any, *others: Any) -> Any:
        k, v, bias, mask, masked, causal = problem.in_sight(q, k, v, *others)
        queries, keys = q.shape[2], k.shape[2]
        is_causal = masked and causal and queries == keys  # only then: JAX aligns it top-left
        if masked and not is_causal:
            past = _seen(queries, keys, None if causal else problem.window)[None, None]
            mask = past if mask is None else mask & past
        q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
        attend = partial(jax.nn.dot_product_attention, is_causal=is_causal, implementation=implementation)
        return jnp.swapaxes(attend(q, k, v, bias=bias, mask=mask), 1, 2)

    return call


def _cudnn_attention(problem: Any, w: SimpleNamespace) -> Call:
    """The same by cuDNN's kernel, which JAX uses only on request."""
    import jax

    device = jax.config.jax_default_device
    if device.platform == "cpu" or not hasattr(device, "compute_capability"):
        raise Unsupported("operator.variant=cudnn needs an NVIDIA GPU.")
    if float(device.compute_capability) < CUDNN_CAPABILITY:
        raise Unsupported(f"operator.variant=cudnn needs compute capability {CUDNN_CAPABILITY} or newer.")
    if problem.head_size % 8 or problem.head_size > CUDNN_HEAD_DIM:
        raise Unsupported(
            f"operator.variant=cudnn takes a head_dim that is a multiple of 8, up to {CUDNN_HEAD_DIM}, not {problem.head_size}."
        )
    attend = _dot_product_attention(problem, w, "cudnn")

    def call(*inputs: Any) -> Any:
        if inputs[0].dtype == "float32":
            raise Unsupported("operator.variant=cudnn takes half precision only; give dtype=bfloat16 or float16.")
        return attend(*inputs)

    return call


def _products_attention(problem: Any, w: SimpleNamespace) -> Call:
    """Two products with a softmax between them, without transpositions. The queries of all heads of a group are rows of one
    product with the keys that they share."""
    import jax
    import jax.numpy as jnp

    scale = problem.head_size**-0.5

    def call(q: Any, k: Any, v: Any, *others: Any) -> Any:
        k, v, bias, mask, masked, causal = problem.in_sight(q, k, v, *others)
        batch, heads, queries, size = q.shape
        kv_heads, keys = k.shape[1], k.shape[2]
        rows = (batch, kv_heads, heads // kv_heads * queries)
        scores = jnp.matmul(q.reshape(*rows, size), jnp.swapaxes(k, 2, 3), preferred_element_type="float32") * scale
        scores = scores.reshape(batch, heads, queries, keys)
        if bias is not None:
            scores = scores + bias
        if masked:
            past = _seen(queries, keys, None if causal else problem.window)
            mask = past if mask is None else mask & past
        if mask is not None:  # not infinite: a row that sees nothing has a mean and no NaN
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores).astype(v.dtype)
        return (weights.reshape(*rows, keys) @ v).reshape(batch, heads, queries, -1)

    return call


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
    "moe_mlp": _moe_mlp,
    "top_k": _top_k,
    "sdpa": _dot_product_attention,
}
"""The operators for which JAX has something better than their definition in its array functions."""

VARIANTS: dict[str, dict[str, Form]] = {"sdpa": {"cudnn": _cudnn_attention, "products": _products_attention}}
"""Other ways, by operator and by name."""
