"""A language model's sizes, by the names of the operators' parameters.

A preset is a YAML file in `conf/model/` with a `name`, its `source`, and `config`: the model's `config.json` as its
authors published it. An operator's YAML takes a size from it with `${mtbench.model:embed_dim,768}`; the second value holds when
no model is chosen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mtbench.errors import ConfigError, unknown
from mtbench.language_models import config as published
from mtbench.language_models.config import Experts, LanguageModel

DIMENSIONS: dict[str, Callable[[LanguageModel], Any]] = {
    "embed_dim": lambda model: model.embed_dim,
    "num_heads": lambda model: model.num_heads,
    "num_kv_heads": lambda model: model.num_kv_heads,
    "head_dim": lambda model: model.head_dim,
    "mlp_dim": lambda model: model.mlp_dim,
    "vocab_size": lambda model: model.vocab_size,
    "num_layers": lambda model: len(model.layers),
    "eps": lambda model: model.eps,
    "theta": lambda model: None if model.layer.rope is None else model.layer.rope.theta,
    "activation": lambda model: model.activation,
    "bias": lambda model: model.attention_bias,
    "qk_norm": lambda model: model.normalises_queries,
    "window": lambda model: model.layer.window,
    "num_experts": lambda model: _experts(model).count,
    "experts_per_token": lambda model: _experts(model).per_token,
    "expert_dim": lambda model: _experts(model).dim,
    "norm_topk_prob": lambda model: _experts(model).norm_topk_prob,
}
"""What operators take from a model. Where only some layers have a window, `theta` and `window` are those of these layers. The
scaling of a rotary embedding changes no operator's work, so only `causal_lm` has it. Qwen2's biases, of queries, keys and
values only, are in `causal_lm` only, too."""


def _experts(model: LanguageModel) -> Experts:
    if model.experts is None:
        raise ConfigError(f"A {model.kind} model has no experts; choose one that has, such as model=qwen3_30b_a3b.")
    return model.experts


def dimension(name: str, config: Mapping[str, Any]) -> Any:
    """One of a model's dimensions. Raises ConfigError where the name is unknown, or the configuration cannot be read."""
    if name not in DIMENSIONS:
        raise ConfigError(unknown("dimension of a model", name, DIMENSIONS))
    return DIMENSIONS[name](published.read(config))
