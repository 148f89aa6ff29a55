"""Softmax, norm, linear and the layers of the original transformer, as torch's modules and loops have them."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mtbench.operators.base import Host, Shape

ACTIVATIONS = {"relu": F.relu, "gelu": nn.GELU(), "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu}


def visible(queries: int, keys: int) -> torch.Tensor:
    return torch.tensor([[key - (keys - queries) <= query for key in range(keys)] for query in range(queries)])


def loaded(module: nn.Module, weights: dict[str, Host]) -> Any:
    module.double().load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return module.requires_grad_(False)


def softmax(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return F.softmax(x, -1)


def layer_norm(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return loaded(nn.LayerNorm(problem.embed_dim, problem.eps, bias=problem.bias), weights)(x)


def linear(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return loaded(nn.Linear(problem.embed_dim, problem.out_dim or problem.embed_dim, problem.bias), weights)(x)


def mha(problem: Any, weights: dict[str, Host], x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
    keys = x if memory is None else memory
    mask = ~visible(x.shape[1], keys.shape[1]) if problem.causal else None
    if problem.head_dim is None:
        module = nn.MultiheadAttention(problem.embed_dim, problem.num_heads, bias=problem.bias, batch_first=True)
        return loaded(module, weights)(x, keys, keys, attn_mask=mask)[0]
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    inner, size = problem.num_heads * problem.head_dim, problem.head_dim
    heads = []
    for start in range(0, inner, size):
        q, k, v = (
            F.linear(
                source,
                t["in_proj_weight"][i * inner + start :][:size],
                t["in_proj_bias"][i * inner + start :][:size] if problem.bias else None,
            )
            for i, source in enumerate((x, keys, keys))
        )
        scores = q @ k.mT / size**0.5
        heads.append(torch.softmax(scores if mask is None else scores.masked_fill(mask, -torch.inf), -1) @ v)
    return F.linear(torch.cat(heads, -1), t["out_proj.weight"], t.get("out_proj.bias"))


def layer_arguments(problem: Any) -> dict[str, Any]:
    return {
        "dim_feedforward": problem.mlp_dim or 4 * problem.embed_dim,
        "activation": ACTIVATIONS[problem.activation],
        "layer_norm_eps": problem.eps,
        "norm_first": problem.norm_first,
        "bias": problem.bias,
        "dropout": 0.0,
        "batch_first": True,
    }


def transformer_encoder_layer(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    module = nn.TransformerEncoderLayer(problem.embed_dim, problem.num_heads, **layer_arguments(problem))
    return loaded(module, weights)(x, src_mask=~visible(x.shape[1], x.shape[1]) if problem.causal else None)


def transformer_decoder_layer(
    problem: Any, weights: dict[str, Host], x: torch.Tensor, memory: torch.Tensor
) -> torch.Tensor:
    module = nn.TransformerDecoderLayer(problem.embed_dim, problem.num_heads, **layer_arguments(problem))
    return loaded(module, weights)(x, memory, tgt_mask=~visible(x.shape[1], x.shape[1]) if problem.causal else None)


def elements(problem: Any, shape: Shape) -> int:
    return int(shape.batch_size * shape.seq_len * problem.embed_dim)


SCALE = {"softmax": (1e-4, 1e-2)}  # its rows sum to 1

FLOPS = {
    "softmax": lambda problem, shape: 5 * elements(problem, shape),
    "layer_norm": lambda problem, shape: (7 if problem.bias else 6) * elements(problem, shape),
}
