"""The definition of a decoder-only language model, in array-API functions, one layer's weights at a time."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mtbench.language_models.config import LanguageModel, Layer, Rope

Read = Callable[..., Any]
"""read(name, rows) gives a tensor of the model, or some of its rows."""


def last_logits(
    xp: Any,
    model: LanguageModel,
    read: Read,
    tokens: Any,
    cache: tuple[Any, Any] | None = None,
    rows: int = 16384,
    output: str | None = None,
    last: int | None = None,
) -> Any:
    """The logits of the last position, (batch, vocab), or of the `last` positions, (batch, last, vocab). One layer's weights
    are held at a time. `output` names the output projection where it is another tensor than the model's.

    tokens: (batch, seq). `cache` holds keys, rotated, and values of the positions before: (batch, layer, kv_heads, context,
    head_dim) each. Each layer: x + attention(norm(x)), then x + MLP(norm(x)), where the MLP is
    (act(x W_gate^T) * x W_up^T) W_down^T; Gemma norms what attention and MLP give before it is added. Attention is causal,
    over groups of heads that share keys and values; positions rotate feature i of a head's first half with feature i of its
    second half.
    """
    x = read("model.embed_tokens.weight", tokens)
    if model.is_gemma:
        x = x * model.embed_dim**0.5
    for index, layer in enumerate(model.layers):
        w = {name.split(".", 3)[3].removesuffix(".weight"): read(name) for name in model.layer_tensors(index)}
        before = None if cache is None else (cache[0][:, index], cache[1][:, index])
        out = _attention(xp, model, layer, w, _norm(xp, model, w["input_layernorm"], x), before)
        x = x + (_norm(xp, model, w["post_attention_layernorm"], out) if model.is_gemma else out)
        behind = "pre_feedforward_layernorm" if model.is_gemma else "post_attention_layernorm"
        out = _mlp(xp, model, w, _norm(xp, model, w[behind], x))
        x = x + (_norm(xp, model, w["post_feedforward_layernorm"], out) if model.is_gemma else out)
    x = _norm(xp, model, read("model.norm.weight"), x[:, -1] if last is None else x[:, -last:])
    table = output or ("model.embed_tokens.weight" if model.tied else "lm_head.weight")
    parts = [slice(start, start + rows) for start in range(0, model.vocab_size, rows)]
    return xp.concat([xp.matmul(x, xp.permute_dims(read(table, part), (1, 0))) for part in parts], axis=-1)


def _norm(xp: Any, model: LanguageModel, scale: Any, x: Any) -> Any:
    normal = x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + model.eps)
    return normal * (1.0 + scale if model.is_gemma else scale)


def _linear(xp: Any, x: Any, weight: Any) -> Any:
    return xp.matmul(x, xp.permute_dims(weight, (1, 0)))


def _attention(
    xp: Any, model: LanguageModel, layer: Layer, w: Mapping[str, Any], x: Any, before: tuple[Any, Any] | None
) -> Any:
    batch, count, _ = x.shape
    size, groups = model.head_dim, model.num_heads // model.num_kv_heads

    def heads(name: str, number: int) -> Any:
        projected = _linear(xp, x, w[f"self_attn.{name}_proj"])
        if model.biases_queries:
            projected = projected + w[f"self_attn.{name}_proj.bias"]
        return xp.reshape(projected, (batch, count, number, size))

    q, k, v = heads("q", model.num_heads), heads("k", model.num_kv_heads), heads("v", model.num_kv_heads)
    if model.normalises_queries:
        q, k = (_norm(xp, model, w[f"self_attn.{name}_norm"], of) for name, of in (("q", q), ("k", k)))
    context = 0 if before is None else before[0].shape[2]
    positions = context + xp.arange(count)
    q, k, v = (xp.permute_dims(each, (0, 2, 1, 3)) for each in (q, k, v))
    if layer.rope is not None:
        rope = layer.rope
        q, k = (_rotated(xp, rope, positions, each) for each in (q, k))
    if before is not None:
        k, v = xp.concat([before[0], k], axis=2), xp.concat([before[1], v], axis=2)
    distance = positions[:, None] - xp.arange(context + count)[None, :]
    seen = distance >= 0
    if layer.window is not None:
        seen = seen & (distance < layer.window)
    q = xp.reshape(q, (batch, model.num_kv_heads, groups, count, size))
    scores = xp.matmul(q, xp.permute_dims(k, (0, 1, 3, 2))[:, :, None]) * model.score_scale
    scores = xp.where(seen, scores, -float("inf"))
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    out = xp.matmul(e / xp.sum(e, axis=-1, keepdims=True), v[:, :, None])
    out = xp.permute_dims(xp.reshape(out, (batch, model.num_heads, count, size)), (0, 2, 1, 3))
    return _linear(xp, xp.reshape(out, (batch, count, model.num_heads * size)), w["self_attn.o_proj"])


def _rotated(xp: Any, rope: Rope, positions: Any, x: Any) -> Any:
    size = x.shape[-1]
    angles = positions[:, None] * xp.asarray(rope.frequencies(size))[None, :]
    one, other = x[..., : size // 2], x[..., size // 2 :]
    cos, sin = xp.cos(angles), xp.sin(angles)
    return xp.concat([one * cos - other * sin, other * cos + one * sin], axis=-1)


def _mlp(xp: Any, model: LanguageModel, w: Mapping[str, Any], x: Any) -> Any:
    gate, up = _linear(xp, x, w["mlp.gate_proj"]), _linear(xp, x, w["mlp.up_proj"])
    if model.is_gemma:
        gate = 0.5 * gate * (1.0 + xp.tanh((2 / math.pi) ** 0.5 * (gate + 0.044715 * gate**3)))
    else:
        gate = gate / (1.0 + xp.exp(-gate))
    return _linear(xp, gate * up, w["mlp.down_proj"])
