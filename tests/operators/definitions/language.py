"""Whole language models in torch's float64 functions, one tensor of a checkpoint at a time, rotary embedding in complex
numbers."""

import json
import math
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from mtbench.operators.base import Host, Shape

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,  # not the width over the heads
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
LLAMA = SIZES | {"model_type": "llama", "hidden_act": "silu"}
SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "smollm2": LLAMA,
    "llama3": LLAMA
    | {"rope_scaling": SCALING | {"original_max_position_embeddings": 32}, "tie_word_embeddings": False},
    "mistral": LLAMA | {"model_type": "mistral", "sliding_window": None, "tie_word_embeddings": False},
    "qwen2": LLAMA | {"model_type": "qwen2", "head_dim": 16, "use_sliding_window": False},  # the width over the heads
    "qwen3": SIZES | {"model_type": "qwen3", "hidden_act": "silu", "sliding_window": None},
    "smollm3": LLAMA | {"model_type": "smollm3", "num_hidden_layers": 4, "head_dim": 16, "pad_token_id": None},
    "gemma3": SIZES
    | {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 32,
        "sliding_window": 8,
        "sliding_window_pattern": 2,
        "rope_local_base_freq": 500.0,
    },
}
"""Every architecture that a preset has, at a size for tests."""


def frequencies(config: dict[str, Any], theta: float, scaled: bool) -> torch.Tensor:
    plain = [theta ** (-2 * i / config["head_dim"]) for i in range(config["head_dim"] // 2)]
    if not scaled:
        return torch.tensor(plain, dtype=torch.float64)
    s = config["rope_scaling"]
    found = []
    for frequency in plain:
        wavelength = 2 * math.pi / frequency
        if wavelength < s["original_max_position_embeddings"] / s["high_freq_factor"]:
            found.append(frequency)
        elif wavelength > s["original_max_position_embeddings"] / s["low_freq_factor"]:
            found.append(frequency / s["factor"])
        else:
            smooth = s["original_max_position_embeddings"] / wavelength - s["low_freq_factor"]
            smooth /= s["high_freq_factor"] - s["low_freq_factor"]
            found.append((1 - smooth) * frequency / s["factor"] + smooth * frequency)
    return torch.tensor(found, dtype=torch.float64)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def causal_lm(problem: Any, weights: dict[str, Host], tokens: torch.Tensor, *cache: torch.Tensor) -> torch.Tensor:
    if problem.phase != "generate":
        return logits(problem, weights, tokens, *cache)
    text = tokens
    for _ in range(problem.new_tokens or 32):
        text = torch.cat([text, logits(problem, weights, text).argmax(-1, keepdim=True)], 1)
    return text[:, tokens.shape[1] :]


def logits(problem: Any, weights: dict[str, Host], tokens: torch.Tensor, *cache: torch.Tensor) -> torch.Tensor:
    config = json.loads(problem.config)
    stored = problem.stored(int(weights["seed"][0]))
    gemma, kind = config["model_type"] == "gemma3_text", config["model_type"]
    heads, groups, size = (config[n] for n in ("num_attention_heads", "num_key_value_heads", "head_dim"))

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(stored.read(name).copy())

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], read(name) + (1 if gemma else 0), config["rms_norm_eps"])

    x = F.embedding(tokens, read("model.embed_tokens.weight")) * (8.0 if gemma else 1.0)  # the root of 64
    past = cache[0].shape[3] if cache else 0
    positions = torch.arange(past + tokens.shape[1])
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        windowed = gemma and i % config["sliding_window_pattern"] != config["sliding_window_pattern"] - 1
        theta = config["rope_local_base_freq"] if windowed else config["rope_theta"]
        angles = positions[past:, None] * frequencies(config, theta, bool(config.get("rope_scaling")))
        h = norm(x, p + "input_layernorm.weight")
        q, k, v = (
            F.linear(h, read(f"{p}self_attn.{n}_proj.weight"), *(
                [read(f"{p}self_attn.{n}_proj.bias")] if kind == "qwen2" else []
            )).unflatten(-1, (-1, size)).transpose(1, 2) for n in "qkv"
        )  # fmt: skip
        if kind in ("qwen3", "gemma3_text"):
            q, k = norm(q, p + "self_attn.q_norm.weight"), norm(k, p + "self_attn.k_norm.weight")
        if not (kind == "smollm3" and i % 4 == 3):
            q, k = rotate(q, angles), rotate(k, angles)
        if cache:
            k, v = torch.cat([cache[0][:, i], k], 2), torch.cat([cache[1][:, i], v], 2)
        back = positions[past:, None] - positions
        mask = (back >= 0) & (back < (config["sliding_window"] if windowed else len(positions)))
        scale = (config["query_pre_attn_scalar"] if gemma else size) ** -0.5
        k, v = (each.repeat_interleave(heads // groups, 1) for each in (k, v))
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2).flatten(2)
        h = F.linear(h, read(p + "self_attn.o_proj.weight"))
        x = x + (norm(h, p + "post_attention_layernorm.weight") if gemma else h)
        h = norm(x, p + ("pre_feedforward" if gemma else "post_attention") + "_layernorm.weight")
        gate, up = (F.linear(h, read(f"{p}mlp.{n}_proj.weight")) for n in ("gate", "up"))
        h = F.linear(
            (F.gelu(gate, approximate="tanh") if gemma else F.silu(gate)) * up, read(p + "mlp.down_proj.weight")
        )
        x = x + (norm(h, p + "post_feedforward_layernorm.weight") if gemma else h)
    table = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return F.linear(norm(x[:, -1], "model.norm.weight"), read(table))


def flops(problem: Any, shape: Shape) -> float:
    c, past = json.loads(problem.config), shape.kv_len or 0
    inner, keys = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    layer = c["hidden_size"] * (2 * inner + 2 * keys + 3 * c["intermediate_size"])
    total = 2.0 * c["hidden_size"] * c["vocab_size"] * (problem.made or 1)
    for i in range(c["num_hidden_layers"]):
        windowed = c["model_type"] == "gemma3_text" and (i + 1) % c["sliding_window_pattern"]
        for query in range(past, past + shape.seq_len + (problem.made or 1) - 1):
            total += 2 * layer + 4 * inner * min(query + 1, c["sliding_window"] if windowed else query + 1)
    return shape.batch_size * total


def bytes_moved(problem: Any, shape: Shape, dtype: str) -> float:
    """Of models without a window."""
    if problem.phase == "generate":
        passes = [shape, *(Shape(shape.batch_size, 1, shape.seq_len + i) for i in range(problem.made - 1))]
        step = replace(problem, phase="decode", new_tokens=None)
        return sum(bytes_moved(step, one, dtype) for one in passes)
    c, past, item = json.loads(problem.config), shape.kv_len or 0, getattr(torch, dtype).itemsize
    tokens = shape.batch_size * shape.seq_len
    stored = {name: torch.from_numpy(problem.stored(0).read(name).copy()) for name in problem.model.tensors()}
    weights = sum(each.numel() for each in stored.values())
    if not c["tie_word_embeddings"]:
        weights += (tokens - c["vocab_size"]) * c["hidden_size"]
    cached = c["num_hidden_layers"] * c["num_key_value_heads"] * c["head_dim"] * 2 * shape.batch_size
    numbers = weights + cached * (past + shape.seq_len) + shape.batch_size * c["vocab_size"]
    return float(numbers * item + 4 * tokens)


SMALL = {"causal_lm": {"config": json.dumps(LLAMA, sort_keys=True)}}

APART = {"causal_lm": ("weight_dtype", "group_size")}  # whose reference is of the weights that a library has made

SCALE = {"causal_lm": (1, 20)}  # embeddings of unit scale are the output projection too

FLOPS = {"causal_lm": flops}

BYTES = {"causal_lm": bytes_moved}
