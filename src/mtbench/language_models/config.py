"""The one parser of language models' published configurations, and what follows from one: sizes, layers, tensors, work.

A configuration is a `config.json` as Hugging Face's transformers writes it. Version 5 puts the rotary embedding into
`rope_parameters`, earlier versions into `rope_theta` and other keys beside it; both are read. Architectures: `llama` (Touvron
et al. 2023, https://arxiv.org/abs/2302.13971; rotary scaling as in Llama 3.1), `mistral` without a window
(https://arxiv.org/abs/2310.06825), `qwen2` (https://arxiv.org/abs/2407.10671), `qwen3` (https://arxiv.org/abs/2505.09388),
`qwen3_moe` (its sizes only), `smollm3` (https://huggingface.co/blog/smollm3), and `gemma3_text`
(https://arxiv.org/abs/2503.19786).
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtbench.errors import ConfigError, unknown

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "smollm3", "gemma3_text")

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""The activations of published configurations, by the operators' names."""

PLAIN, LLAMA3 = "default", "llama3"
"""The ways of scaling a rotary embedding that `Rope.frequencies` knows."""

QWEN_FULL_LAYERS = 28
"""How many layers of a Qwen3 model with windows have no window, where its file does not say (transformers' Qwen3Config)."""

LLAMA_THETA = 10000.0
"""The default of transformers' LlamaConfig; the first models' files leave theta out."""

MISTRAL_WINDOW = 4096
"""The default of transformers' MistralConfig, for files without `sliding_window`. Models without a window say null."""

NOPE_INTERVAL = 4
"""SmolLM3: one layer in this many has no rotary embedding, where its file does not say which (transformers' SmolLM3Config)."""

Dimensions = tuple[int, ...]


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: `theta`, as it is written in the file, and Llama 3's scaling of the long wavelengths where there is
    one."""

    theta: float
    scaling: str = PLAIN
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192
    factors: tuple[float, ...] | None = None  # of each pair's wavelength, where a file has these instead

    def frequencies(self, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Radians per position of each pair of features. Wavelengths beyond original_length / low_freq_factor are stretched
        by `factor`, those below original_length / high_freq_factor are kept, and between the two it changes smoothly."""
        plain = self.theta ** (-np.arange(0, size, 2) / size)
        if self.factors is not None:
            return np.asarray(plain / np.array(self.factors))
        turns = self.original_length * plain / (2 * math.pi)  # within the original length
        kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0, 1)
        return np.asarray(plain * (kept + (1 - kept) / self.factor))


@dataclass(frozen=True)
class Layer:
    """What differs between the layers of one model."""

    rope: Rope | None  # None: no positional encoding (NoPE)
    window: int | None  # positions that a query sees, its own among them; None: all


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of one MLP: `count` of them, each `dim` wide, of which a token takes some."""

    count: int
    per_token: int
    dim: int
    norm_topk_prob: bool


@dataclass(frozen=True)
class LanguageModel:
    """What one model's configuration says."""

    kind: str  # one of ARCHITECTURES
    embed_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    eps: float
    activation: str  # by the operators' names
    attention_bias: bool
    tied: bool  # the output projection is the embedding table
    score_scale: float
    layers: tuple[Layer, ...]
    experts: Experts | None = None

    @property
    def layer(self) -> Layer:
        """The layer that stands for all: one with a rotary embedding, and with a window if some layers have one."""
        rotated = [layer for layer in self.layers if layer.rope is not None] or list(self.layers)
        return next((layer for layer in rotated if layer.window is not None), rotated[0])

    @property
    def is_gemma(self) -> bool:
        """Gemma scales embeddings; its norms scale by 1 + w and also follow attention and MLP; its MLP gates with GELU."""
        return self.kind == "gemma3_text"

    @property
    def normalises_queries(self) -> bool:
        return self.kind in ("qwen3", "qwen3_moe", "gemma3_text")

    @property
    def biases_queries(self) -> bool:
        """Queries, keys and values have biases, and nothing else has."""
        return self.kind == "qwen2"

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
        found = {f"{name}.weight": shape for name, shape in names.items()}
        if self.biases_queries:
            found |= {
                f"self_attn.{name}_proj.bias": (size,) for name, size in zip("qkv", (queries, keys, keys), strict=True)
            }
        return {f"model.layers.{index}.{name}": shape for name, shape in found.items()}

    def tensors(self) -> dict[str, Dimensions]:
        """Every tensor of a checkpoint, by name and shape."""
        table = (self.vocab_size, self.embed_dim)
        layers = {name: shape for i in range(len(self.layers)) for name, shape in self.layer_tensors(i).items()}
        ends = {"model.norm.weight": (self.embed_dim,)} | ({} if self.tied else {"lm_head.weight": table})
        return {"model.embed_tokens.weight": table} | layers | ends

    def spread(self, name: str, shape: Dimensions) -> tuple[float, float]:
        """Mean and standard deviation of a random tensor. Embeddings have unit scale, and projections keep it. All layers
        together add as much as they are given, as GPT-2 is initialised (Radford et al. 2019, section 2.3), so that rounding
        errors do not grow with depth. A norm's scales differ from those that a library initialises."""
        branch = (2 * len(self.layers)) ** -0.5
        if name.endswith(".bias"):
            return 0.0, 0.1
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
        return 0.0, share * shape[-1] ** -0.5

    def held(self, layer: Layer, context: int) -> int:
        """How many positions of a context the next token sees in a layer."""
        return context if layer.window is None else min(context, layer.window - 1)

    def visible_pairs(self, layer: Layer, queries: int, context: int) -> int:
        """The number of pairs of a query and a key that it sees, its own included, for queries that follow a context."""
        return sum(self.held(layer, context + i) + 1 for i in range(queries))

    def flops(self, batch_size: int, seq_len: int, context: int) -> float:
        """2 for each matrix weight and token, with the output projection for one token of each sequence, and the two products
        of attention over the pairs that see each other."""
        per_token = sum(math.prod(size) for size in self.layer_tensors(0).values() if len(size) == 2) * len(self.layers)
        pairs = sum(self.visible_pairs(layer, seq_len, context) for layer in self.layers)
        products = seq_len * per_token + self.vocab_size * self.embed_dim
        return 2.0 * batch_size * (products + 2 * self.num_heads * self.head_dim * pairs)


def read(config: Mapping[str, Any]) -> LanguageModel:
    """A model from its configuration. Raises ConfigError where it is none of a model, or the architecture is unknown."""
    try:
        return _read(config)
    except KeyError as missing:
        raise ConfigError(f"The model's config has no {missing.args[0]}.") from None
    except (TypeError, ValueError, AttributeError) as error:  # a size that is null, or a word
        raise ConfigError(f"This is not the config.json of a model: {error}.") from None


def parse(text: str) -> LanguageModel:
    """A whole model from its configuration as JSON. Raises ConfigError as `read` does, and where the model has a feature that
    the definition here lacks, so that another model would run."""
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ConfigError(
            f"operator.params.config={text[:40]!r} does not fit; it must be a model's config.json, as text."
        )
    model = read(config)
    if model.experts is not None:
        raise ConfigError(f"causal_lm runs no mixture of experts such as {model.kind}; moe_mlp takes its sizes.")
    activation = _activation(config, model.kind)
    refused = {
        "attention_bias": model.attention_bias,
        "mlp_bias": config.get("mlp_bias", False),
        "use_sliding_window": config.get("use_sliding_window", False),
        "sliding_window": config.get("sliding_window", MISTRAL_WINDOW) if model.kind == "mistral" else None,
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "quantization_config": None if "quantization" in config else config.get("quantization_config"),  # mlx-lm: both
        "hidden_act": activation if activation != _usual_activation(model.kind) else None,
    }
    for name, value in refused.items():
        if value:
            raise ConfigError(f"The model's config: {name}={value} is not supported for {model.kind}.")
    for scaling in {layer.rope.scaling for layer in model.layers if layer.rope} - {PLAIN, LLAMA3}:
        raise ConfigError(f"The model's config: rotary scaling of type '{scaling}' is not supported; only {LLAMA3} is.")
    return model


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose rotary embedding is written as before transformers 5, which nests it in `rope_parameters`: mlx-lm
    does not read the new form for every architecture."""
    found = dict(config)
    nested = found.get("rope_parameters") or {}
    if config["model_type"] == "gemma3_text":
        found["sliding_window_pattern"] = _pattern(config)
        if nested:
            found["rope_local_base_freq"] = nested["sliding_attention"]["rope_theta"]
            nested = nested["full_attention"]
    if nested:
        found["rope_theta"] = nested["rope_theta"] if "rope_theta" in nested else found["rope_theta"]
        found["rope_scaling"] = None if nested.get("rope_type", PLAIN) == PLAIN else nested
    elif config["model_type"] == "llama":
        found.setdefault("rope_theta", LLAMA_THETA)
    return found


def _read(config: Mapping[str, Any]) -> LanguageModel:
    kind = str(config["model_type"])
    if kind not in ARCHITECTURES:
        raise ConfigError(unknown("architecture (model_type)", kind, ARCHITECTURES))
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or config["hidden_size"] // heads)
    activation = _activation(config, kind)
    return LanguageModel(
        kind=kind,
        embed_dim=int(config["hidden_size"]),
        mlp_dim=int(config["intermediate_size"]),
        num_heads=heads,
        num_kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=size,
        vocab_size=int(config["vocab_size"]),
        eps=float(config["rms_norm_eps"]),
        activation=ACTIVATIONS.get(activation, activation),
        attention_bias=bool(config.get("attention_bias", False)),
        tied=bool(config.get("tie_word_embeddings", kind == "gemma3_text")),
        score_scale=float(config["query_pre_attn_scalar"] if kind == "gemma3_text" else size) ** -0.5,
        layers=tuple(_layers(config, kind)),
        experts=_experts(config, kind),
    )


def _experts(config: Mapping[str, Any], kind: str) -> Experts | None:
    if kind != "qwen3_moe":
        return None
    return Experts(
        count=int(config["num_experts"]),
        per_token=int(config["num_experts_per_tok"]),
        dim=int(config["moe_intermediate_size"]),
        norm_topk_prob=bool(config.get("norm_topk_prob", False)),
    )


def _activation(config: Mapping[str, Any], kind: str) -> str:
    return str(config.get("hidden_activation") or config.get("hidden_act") or _usual_activation(kind))


def _usual_activation(kind: str) -> str:
    return "gelu_pytorch_tanh" if kind == "gemma3_text" else "silu"


def _pattern(config: Mapping[str, Any]) -> int:
    """Gemma: one layer in this many uses full attention."""
    kinds = config.get("layer_types") or []
    if "full_attention" in kinds:
        return int(kinds.index("full_attention")) + 1
    return int(config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6)


def _layers(config: Mapping[str, Any], kind: str) -> Iterator[Layer]:
    count, told = int(config["num_hidden_layers"]), flat(config)
    if count < 1:
        raise ValueError(f"num_hidden_layers is {count}")
    everywhere = Layer(_rope(told["rope_theta"], told.get("rope_scaling") or {}), None)
    if kind == "qwen3" and config.get("use_sliding_window") and config.get("sliding_window"):
        windowed = Layer(everywhere.rope, int(config["sliding_window"]))
        first = int(config.get("max_window_layers", QWEN_FULL_LAYERS))
        yield from (windowed if i >= first else everywhere for i in range(count))
        return
    if kind == "smollm3":
        interval = int(config.get("no_rope_layer_interval") or NOPE_INTERVAL)
        rotated = config.get("no_rope_layers") or [(i + 1) % interval != 0 for i in range(count)]  # 1: with rotation
        if len(rotated) != count:
            raise ValueError(f"no_rope_layers has {len(rotated)} values for {count} layers")
        yield from (everywhere if each else Layer(None, None) for each in rotated)
        return
    if kind != "gemma3_text":
        yield from [everywhere] * count
        return
    windowed = Layer(_rope(told["rope_local_base_freq"], {}), int(config["sliding_window"]))
    pattern = _pattern(config)
    usual = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(count)]
    if config.get("layer_types") not in (None, usual):
        raise ConfigError(
            f"The model's config: layer_types other than full attention in one of {pattern} layers are not supported."
        )
    yield from (windowed if each == "sliding_attention" else everywhere for each in usual)


def _rope(theta: Any, scaling: Mapping[str, Any]) -> Rope:
    if not isinstance(theta, int | float) or not theta > 0:
        raise TypeError(f"rope_theta is {theta!r}")
    kind = str(scaling.get("rope_type") or scaling.get("type") or PLAIN)
    if kind != LLAMA3:
        return Rope(theta, kind)
    return Rope(
        theta,
        kind,
        factor=float(scaling["factor"]),
        low_freq_factor=float(scaling["low_freq_factor"]),
        high_freq_factor=float(scaling["high_freq_factor"]),
        original_length=int(scaling["original_max_position_embeddings"]),
    )
