"""Model presets: a language model's published configuration, and what its layers' shapes are in mtbench's words.

A preset is a YAML file in `conf/model/` with a `name`, its `source`, and `config`: the model's `config.json` as its
authors published it. An operator's YAML takes a shape from it with `${mtbench.model:embed_dim,768}`, where the second is
what holds when no model is chosen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mtbench.errors import ConfigError, unknown

Config = Mapping[str, Any]

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""The activations of published configurations, in mtbench's words."""

QK_NORM = ("qwen3", "gemma3_text")
"""The architectures that normalise queries and keys, per head."""


def _head_dim(config: Config) -> Any:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _theta(config: Config) -> Any:
    """Of the layers with a window, where only some have one: `rope_theta` is that of Gemma's others."""
    return config.get("rope_local_base_freq") or config.get("rope_theta", 10000.0)


def _window(config: Config) -> Any:
    return config.get("sliding_window") if config.get("use_sliding_window", True) else None


def _activation(config: Config) -> Any:
    name = config.get("hidden_act", config.get("hidden_activation"))
    return ACTIVATIONS.get(str(name), name)


DIMENSIONS: dict[str, Callable[[Config], Any]] = {
    "embed_dim": lambda config: config["hidden_size"],
    "num_heads": lambda config: config["num_attention_heads"],
    "num_kv_heads": lambda config: config.get("num_key_value_heads", config["num_attention_heads"]),
    "head_dim": _head_dim,
    "mlp_dim": lambda config: config["intermediate_size"],
    "vocab_size": lambda config: config["vocab_size"],
    "num_layers": lambda config: config["num_hidden_layers"],
    "eps": lambda config: config["rms_norm_eps"],
    "theta": _theta,
    "activation": _activation,
    "bias": lambda config: bool(config.get("attention_bias", False)),
    "qk_norm": lambda config: config["model_type"] in QK_NORM,
    "window": _window,
}
"""mtbench's words, and how each is read off a configuration in the words of Hugging Face's transformers."""


def dimension(name: str, config: Config) -> Any:
    """One of a model's dimensions. Raises ConfigError where the word is unknown, or the configuration lacks it."""
    if name not in DIMENSIONS:
        raise ConfigError(unknown("dimension of a model", name, DIMENSIONS))
    try:
        return DIMENSIONS[name](config)
    except KeyError as missing:
        raise ConfigError(f"The model's config has no {missing.args[0]}, so {name} is not known.") from None
