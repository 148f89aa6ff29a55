"""Attention as loops over single queries, rotation as complex numbers, and the modern layer from torch's functions."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mtbench.operators.base import ITEM_BYTES, Host, Shape


def seen_keys(problem: Any, query: int, queries: int, keys: int) -> range:
    """The keys that a query sees."""
    if not problem.causal:
        return range(keys)
    position = query + keys - queries
    return range(0 if problem.window is None else max(0, position - problem.window + 1), position + 1)


def sdpa(
    problem: Any, weights: dict[str, Host], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *others: torch.Tensor
) -> torch.Tensor:
    out = torch.zeros(*q.shape[:3], v.shape[3], dtype=q.dtype)
    shared = q.shape[1] // k.shape[1]
    whole = (*q.shape[:3], k.shape[2])
    bias = others[0].expand(whole) if getattr(problem, "additive_bias", False) else torch.zeros(whole)
    mask = (
        others[-1].expand(whole) if getattr(problem, "mask", "none") != "none" else torch.ones(whole, dtype=torch.bool)
    )
    for batch, head, query in np.ndindex(q.shape[:3]):
        seen = [key for key in seen_keys(problem, query, q.shape[2], k.shape[2]) if mask[batch, head, query, key]]
        scores = [
            q[batch, head, query] @ k[batch, head // shared, key] / q.shape[3] ** 0.5 + bias[batch, head, query, key]
            for key in seen
        ]
        if seen:
            out[batch, head, query] = torch.softmax(torch.stack(scores), 0) @ v[batch, head // shared, seen]
    return out


def turned(x: torch.Tensor, start: int, theta: float, interleaved: bool = False) -> torch.Tensor:
    """x, (batch, heads, len, head_dim), with each pair of features as a complex number, times e^(i angle)."""
    size = x.shape[-1]
    pairs = x.unflatten(-1, (-1, 2)) if interleaved else x.unflatten(-1, (2, -1)).transpose(-1, -2)
    angles = torch.tensor(
        [[(start + row) / theta ** (2 * i / size) for i in range(size // 2)] for row in range(x.shape[2])],
        dtype=torch.float64,
    )
    numbers = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles)
    out = torch.view_as_real(numbers)
    return (out if interleaved else out.transpose(-1, -2)).flatten(-2)


def rope(problem: Any, weights: dict[str, Host], x: torch.Tensor, offset: torch.Tensor | None = None) -> torch.Tensor:
    starts = [0] * len(x) if offset is None else offset.tolist()
    rows = [turned(row[None], start, problem.theta, problem.interleaved) for row, start in zip(x, starts, strict=True)]
    return torch.cat(rows)


def gqa(problem: Any, weights: dict[str, Host], x: torch.Tensor, *cache: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    size = problem.head_dim or problem.embed_dim // problem.num_heads
    q, k, v = (
        F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias")).unflatten(-1, (-1, size)).transpose(1, 2)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    if problem.qk_norm:
        q, k = (
            F.rms_norm(q, (size,), t["q_norm.weight"], problem.eps),
            F.rms_norm(k, (size,), t["k_norm.weight"], problem.eps),
        )
    past = cache[0].shape[2] if cache else 0
    q, k = turned(q, past, problem.theta), turned(k, past, problem.theta)
    if cache:
        k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
    heads = sdpa(problem, {}, q, k, v).transpose(1, 2).flatten(2)
    return F.linear(heads, t["o_proj.weight"], t.get("o_proj.bias"))


def kv_cache_update(problem: Any, weights: dict[str, Host], *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    cache_k, cache_v, k, v = inputs
    new = range(cache_k.shape[2] - k.shape[2], cache_k.shape[2])
    return cache_k.index_copy(2, torch.tensor(new), k), cache_v.index_copy(2, torch.tensor(new), v)


def llama_block(problem: Any, weights: dict[str, Host], x: torch.Tensor, *cache: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    own = {name.removeprefix("self_attn."): value for name, value in weights.items() if name.startswith("self_attn.")}
    activation = {"silu": F.silu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}[
        problem.activation
    ]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, (problem.embed_dim,), t[f"{name}.weight"], problem.eps)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, t[f"mlp.{name}.weight"], t.get(f"mlp.{name}.bias"))

    x = x + gqa(problem, own, norm(x, "input_layernorm"), *cache)
    hidden = norm(x, "post_attention_layernorm")
    return x + linear(activation(linear(hidden, "gate_proj")) * linear(hidden, "up_proj"), "down_proj")


def sdpa_bytes(problem: Any, shape: Shape, dtype: str) -> int:
    """Of queries, output, the keys and values that a query sees, and the bias and mask on them."""
    keys = {key for i in range(shape.seq_len) for key in seen_keys(problem, i, shape.seq_len, shape.key_len)}
    size = problem.head_dim or problem.embed_dim // problem.num_heads
    both = size + (problem.v_head_dim or size)
    elements = problem.num_heads * shape.seq_len * both
    elements += (problem.num_kv_heads or problem.num_heads) * len(keys) * both
    elements += problem.num_heads * shape.seq_len * len(keys) * problem.additive_bias
    rows = {"none": 0, "boolean": problem.num_heads * shape.seq_len, "broadcast": shape.seq_len, "padding": 1}
    return int(shape.batch_size * (elements * ITEM_BYTES[dtype] + rows[problem.mask] * len(keys)))


def cached_bytes(problem: Any, shape: Shape, dtype: str) -> int:
    """Of a layer's input, output and weights, and the cached keys and values that a query sees."""
    weights = sum(weight.size for weight in problem.weights(np.random.default_rng(0)).values())
    past = range(shape.key_len - shape.seq_len)
    cached = {
        key for i in range(shape.seq_len) for key in seen_keys(problem, i, shape.seq_len, shape.key_len) if key in past
    }
    size = problem.head_dim or problem.embed_dim // problem.num_heads
    elements = shape.batch_size * 2 * (shape.seq_len * problem.embed_dim + problem.num_kv_heads * len(cached) * size)
    return int((weights + elements) * ITEM_BYTES[dtype])


def new_elements(problem: Any, shape: Shape) -> int:
    return int(2 * shape.batch_size * problem.num_kv_heads * shape.seq_len * problem.head_dim)


SMALL = {
    "sdpa": {"causal": True},  # which a window needs
    "rope": {"head_dim": 8, "max_seq_len": 64},
    "kv_cache_update": {"head_dim": 8},
    "llama_block": {"mlp_dim": 48},
}

PARTIAL = {"sdpa": ("jax",)}  # values as wide as keys

GPU_ONLY = {"sdpa": {("jax", "cudnn"): ("float32", "float16", "bfloat16")}}

LONG = (Shape(1, 1, 20), Shape(1, 3, 20))  # longer than the window that the parameters are tried with

SHAPES = dict.fromkeys(("sdpa", "gqa", "llama_block"), LONG)

FLOPS = {
    "rope": lambda problem, shape: 3 * shape.batch_size * shape.seq_len * problem.num_heads * problem.head_dim,
    "kv_cache_update": lambda problem, shape: 0,
}

BYTES = {
    "sdpa": sdpa_bytes,
    "gqa": cached_bytes,
    "llama_block": cached_bytes,
    "kv_cache_update": lambda problem, shape, dtype: 2 * new_elements(problem, shape) * ITEM_BYTES[dtype],
}
