"""Decoder-only language models as their published configurations describe them: sizes, tensors, and the definition.

Three architectures, in the words of Hugging Face's transformers: `llama` (Touvron et al. 2023,
https://arxiv.org/abs/2302.13971; rotary scaling as in Llama 3.1), `qwen3` (https://arxiv.org/abs/2505.09388) and
`gemma3_text` (https://arxiv.org/abs/2503.19786).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtbench.errors import ConfigError, unknown
from mtbench.operators.base import Dimensions, Shape

ARCHITECTURES = ("llama", "qwen3", "gemma3_text")

PARAMETER = "operator.params.config"

Read = Callable[..., Any]
"""read(name, rows) gives a tensor of the model, or some of its rows."""


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: `theta`, and Llama 3's scaling of the long wavelengths where there is one."""

    theta: float
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192

    def frequencies(self, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Radians per position of each pair of features. Wavelengths beyond original_length / low_freq_factor are stretched
        by `factor`, those below original_length / high_freq_factor are kept, and between them it goes over smoothly."""
        plain = self.theta ** (-np.arange(0, size, 2) / size)
        turns = self.original_length * plain / (2 * math.pi)  # within the original length
        kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0, 1)
        return np.asarray(plain * (kept + (1 - kept) / self.factor))


@dataclass(frozen=True)
class Layer:
    """What differs between the layers of one model."""

    rope: Rope
    window: int | None  # positions that a query sees, its own among them; None: all


@dataclass(frozen=True)
class LanguageModel:
    """One model's sizes. Every projection is without bias."""

    kind: str
    embed_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    eps: float
    tied: bool  # the output projection is the embedding table
    score_scale: float
    layers: tuple[Layer, ...]

    @property
    def is_gemma(self) -> bool:
        """Gemma scales embeddings, norms with 1 + w, also behind attention and MLP, and gates with GELU."""
        return self.kind == "gemma3_text"

    @property
    def normalises_queries(self) -> bool:
        return self.kind in ("qwen3", "gemma3_text")

    def layer_tensors(self, index: int) -> dict[str, Dimensions]:
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        names = {
            "input_layernorm": (self.embed_dim,),
            "self_attn.q_proj": (queries, self.embed_dim),
            "self_attn.k_proj": (keys, self.embed_dim),
            "self_attn.v_proj": (keys, self.embed_dim),
            "self_attn.o_proj": (self.embed_dim, queries),
            "post_attention_layernorm": (self.embed_dim,),
            "mlp.gate_proj": (self.mlp_dim, self.embed_dim),
            "mlp.up_proj": (self.mlp_dim, self.embed_dim),
            "mlp.down_proj": (self.embed_dim, self.mlp_dim),
        }
        if self.normalises_queries:
            names |= {"self_attn.q_norm": (self.head_dim,), "self_attn.k_norm": (self.head_dim,)}
        if self.is_gemma:
            names |= {"pre_feedforward_layernorm": (self.embed_dim,), "post_feedforward_layernorm": (self.embed_dim,)}
        return {f"model.layers.{index}.{name}.weight": shape for name, shape in names.items()}

    def tensors(self) -> dict[str, Dimensions]:
        """Every tensor of a checkpoint, by name and shape."""
        table = (self.vocab_size, self.embed_dim)
        layers = {name: shape for i in range(len(self.layers)) for name, shape in self.layer_tensors(i).items()}
        ends = {"model.norm.weight": (self.embed_dim,)} | ({} if self.tied else {"lm_head.weight": table})
        return {"model.embed_tokens.weight": table} | layers | ends

    def spread(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation of a random tensor: embeddings of unit scale, projections that keep it, and layers that
        together add as much as they are given, as GPT-2 is initialised (Radford et al. 2019, section 2.3), which keeps rounding
        from growing with depth. A norm's scales differ from what a library initialises to."""
        branch = (2 * len(self.layers)) ** -0.5
        if name.endswith(("layernorm.weight", "norm.weight")):
            if not self.is_gemma:
                return 1.0, 0.1
            share = (
                branch
                if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight"))
                else 1.0
            )
            return share - 1.0, 0.1 * share
        if name == "model.embed_tokens.weight":
            return 0.0, self.embed_dim**-0.5 if self.is_gemma else 1.0
        share = branch if name.endswith(("o_proj.weight", "down_proj.weight")) and not self.is_gemma else 1.0
        return 0.0, share * self.tensors()[name][-1] ** -0.5

    def held(self, layer: Layer, context: int) -> int:
        """How many positions of a context the next token sees in a layer."""
        return context if layer.window is None else min(context, layer.window - 1)

    def visible_pairs(self, layer: Layer, queries: int, context: int) -> int:
        """Pairs of a query and a key that it sees, itself included, for queries that follow a context."""
        return sum(self.held(layer, context + i) + 1 for i in range(queries))

    def flops(self, shape: Shape, context: int) -> float:
        """2 per weight of a matrix and token, with the output projection of one token a sequence, and the two products of
        attention over the pairs that see each other."""
        per_token = sum(math.prod(size) for size in self.layer_tensors(0).values() if len(size) == 2) * len(self.layers)
        pairs = sum(self.visible_pairs(layer, shape.seq_len, context) for layer in self.layers)
        products = shape.seq_len * per_token + self.vocab_size * self.embed_dim
        return 2.0 * shape.batch_size * (products + 2 * self.num_heads * self.head_dim * pairs)


def parse(text: str) -> LanguageModel:
    """A model from a configuration as JSON. Raises ConfigError where it is none, or of a model that is not known here."""
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ConfigError(f"{PARAMETER}={text[:40]!r} does not fit; it must be a model's config.json, as text.")
    try:
        return from_config(config)
    except KeyError as missing:
        raise ConfigError(f"{PARAMETER} has no {missing.args[0]}.") from None
    except (TypeError, ValueError, AttributeError) as error:  # a size that is null, or a word
        raise ConfigError(f"{PARAMETER} is no model's config.json: {error}.") from None


def from_config(config: Mapping[str, Any]) -> LanguageModel:
    """A model from its configuration. Raises KeyError where a size is missing, ConfigError for what is not known here."""
    kind = str(config["model_type"])
    if kind not in ARCHITECTURES:
        raise ConfigError(unknown("architecture (model_type)", kind, ARCHITECTURES))
    activation = config.get("hidden_activation") or config.get("hidden_act")
    refused = {
        "attention_bias": config.get("attention_bias", False),
        "mlp_bias": config.get("mlp_bias", False),
        "use_sliding_window": config.get("use_sliding_window", False),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "quantization_config": config.get("quantization_config"),
        "hidden_act": activation if activation != _activation(kind) else None,
    }
    for name, value in refused.items():
        if value:
            raise ConfigError(f"{PARAMETER}: {name}={value} is not known for {kind}.")
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or config["hidden_size"] // heads)
    return LanguageModel(
        kind=kind,
        embed_dim=int(config["hidden_size"]),
        mlp_dim=int(config["intermediate_size"]),
        num_heads=heads,
        num_kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=size,
        vocab_size=int(config["vocab_size"]),
        eps=float(config["rms_norm_eps"]),
        tied=bool(config.get("tie_word_embeddings", kind == "gemma3_text")),
        score_scale=float(config["query_pre_attn_scalar"] if kind == "gemma3_text" else size) ** -0.5,
        layers=tuple(_layers(config, kind)),
    )


def _activation(kind: str) -> str:
    return "gelu_pytorch_tanh" if kind == "gemma3_text" else "silu"


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with its rotary embedding told as it was before transformers 5, which nests it in `rope_parameters`;
    mlx-lm does not read that for every architecture."""
    found = dict(config)
    nested = found.get("rope_parameters") or {}
    if config["model_type"] == "gemma3_text":
        found["sliding_window_pattern"] = _pattern(config)
        if nested:
            found["rope_local_base_freq"] = nested["sliding_attention"]["rope_theta"]
            nested = nested["full_attention"]
    if nested:
        found["rope_theta"] = nested.get("rope_theta", found.get("rope_theta"))
        found["rope_scaling"] = None if nested.get("rope_type", "default") == "default" else nested
    return found


def _pattern(config: Mapping[str, Any]) -> int:
    """Gemma's: every how manyth layer sees all positions."""
    kinds = config.get("layer_types") or []
    if "full_attention" in kinds:
        return int(kinds.index("full_attention")) + 1
    return int(config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6)


def _layers(config: Mapping[str, Any], kind: str) -> Iterator[Layer]:
    count, told = int(config["num_hidden_layers"]), flat(config)
    everywhere = Layer(_rope(told["rope_theta"], told.get("rope_scaling") or {}), None)
    if kind != "gemma3_text":
        yield from [everywhere] * count
        return
    windowed = Layer(_rope(told["rope_local_base_freq"], {}), int(config["sliding_window"]))
    pattern = _pattern(config)
    usual = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(count)]
    if config.get("layer_types") not in (None, usual):
        raise ConfigError(f"{PARAMETER}: layer_types other than every {pattern}th seeing all positions are not known.")
    yield from (windowed if each == "sliding_attention" else everywhere for each in usual)


def _rope(theta: Any, scaling: Mapping[str, Any]) -> Rope:
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "default":
        return Rope(float(theta))
    if kind != "llama3":
        raise ConfigError(f"{PARAMETER}: rotary scaling of type '{kind}' is not known; only llama3 is.")
    return Rope(
        float(theta),
        factor=float(scaling["factor"]),
        low_freq_factor=float(scaling["low_freq_factor"]),
        high_freq_factor=float(scaling["high_freq_factor"]),
        original_length=int(scaling["original_max_position_embeddings"]),
    )


def last_logits(
    xp: Any, model: LanguageModel, read: Read, tokens: Any, cache: tuple[Any, Any] | None = None, rows: int = 16384
) -> Any:
    """The logits of the last position, (batch, vocab). One layer's weights are held at a time.

    tokens: (batch, seq). `cache` holds keys, rotated, and values of the positions before: (batch, layer, kv_heads, context,
    head_dim) each. Each layer: x + attention(norm(x)), then x + MLP(norm(x)), where the MLP is
    (act(x W_gate^T) * x W_up^T) W_down^T; Gemma norms what attention and MLP give before it is added. Attention is causal,
    over groups of heads that share keys and values; positions rotate the two halves of a head's features against each other.
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
    x = _norm(xp, model, read("model.norm.weight"), x[:, -1])
    table = "model.embed_tokens.weight" if model.tied else "lm_head.weight"
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
        return xp.reshape(_linear(xp, x, w[f"self_attn.{name}_proj"]), (batch, count, number, size))

    q, k, v = heads("q", model.num_heads), heads("k", model.num_kv_heads), heads("v", model.num_kv_heads)
    if model.normalises_queries:
        q, k = (_norm(xp, model, w[f"self_attn.{name}_norm"], of) for name, of in (("q", q), ("k", k)))
    context = 0 if before is None else before[0].shape[2]
    positions = context + xp.arange(count)
    q, k, v = (xp.permute_dims(each, (0, 2, 1, 3)) for each in (q, k, v))
    q, k = (_rotated(xp, layer.rope, positions, each) for each in (q, k))
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
