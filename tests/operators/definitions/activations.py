"""RMS norm, MLPs, activations and losses, as torch's modules and plain NumPy have them."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mtbench.operators.base import ITEM_BYTES, Host, Shape

GATES = {"silu": nn.SiLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh")}


def rms_norm(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    rows = [row / np.sqrt(row @ row / len(row) + problem.eps) for row in x.numpy().reshape(-1, x.shape[-1])]
    return torch.from_numpy(np.array(rows).reshape(x.shape) * weights["weight"])


def swiglu_mlp(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    gate, up = (F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias")) for name in ("gate_proj", "up_proj"))
    return F.linear(GATES[problem.activation](gate) * up, t["down_proj.weight"], t.get("down_proj.bias"))


def moe_mlp(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    out = torch.zeros_like(x)
    for place in np.ndindex(x.shape[:2]):
        p = torch.softmax(F.linear(x[place], t["gate.weight"]), -1)
        chosen = sorted(range(problem.num_experts), key=lambda expert: -p[expert].item())[: problem.experts_per_token]
        whole = sum(p[expert] for expert in chosen) if problem.norm_topk_prob else 1.0
        for expert in chosen:
            gate, up, down = (t[f"experts.{name}.weight"][expert] for name in ("gate_proj", "up_proj", "down_proj"))
            inside = GATES[problem.activation](F.linear(x[place], gate)) * F.linear(x[place], up)
            out[place] += p[expert] / whole * F.linear(inside, down)
    return out


def gelu_mlp(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    inside = GATES[problem.activation](F.linear(x, t["linear1.weight"], t.get("linear1.bias")))
    return F.linear(inside, t["linear2.weight"], t.get("linear2.bias"))


def gelu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.GELU(problem.approximate)(x)


def silu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.SiLU()(x)


def sigmoid(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.Sigmoid()(x)


def relu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.ReLU()(x)


def leaky_relu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.LeakyReLU(problem.negative_slope)(x)


def prelu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    slopes = enumerate(weights["weight"])
    return torch.stack([nn.LeakyReLU(float(slope))(x[..., feature]) for feature, slope in slopes], -1)


def selu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.SELU()(x)


def softplus(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.Softplus()(x)


def cross_entropy(problem: Any, weights: dict[str, Host], logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.CrossEntropyLoss(reduction="none")(logits.permute(0, 2, 1), targets)


def binary_cross_entropy(
    problem: Any, weights: dict[str, Host], logits: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    return nn.BCELoss(reduction="none")(torch.sigmoid(logits), targets)


def elements(problem: Any, shape: Shape) -> int:
    return int(shape.batch_size * shape.seq_len * problem.embed_dim)


def moe_flops(problem: Any, shape: Shape) -> int:
    tokens, width = shape.batch_size * shape.seq_len, problem.expert.hidden_dim
    return int(2 * tokens * problem.embed_dim * (problem.num_experts + 3 * problem.experts_per_token * width))


def moe_bytes(problem: Any, shape: Shape, dtype: str) -> int:
    """Of input, output, router, and the experts that at least one token chose."""
    tokens = shape.batch_size * shape.seq_len
    x = problem.inputs(np.random.default_rng(0), shape)["x"].reshape(tokens, -1)
    router = problem.weights(np.random.default_rng(0))["gate.weight"]
    chosen = np.argsort(x @ router.T, axis=-1)[:, -problem.experts_per_token :]
    weights = len(np.unique(chosen)) * 3 * problem.embed_dim * problem.expert.hidden_dim + router.size
    return int((2 * x.size + weights) * ITEM_BYTES[dtype])


SMALL = {"moe_mlp": {"mlp_dim": 48, "num_experts": 6, "experts_per_token": 2}}

PARTIAL = {"moe_mlp": ("torch", "mlx")}  # grouped products want widths of 16 bytes, and in MLX on the CPU float32

HALF = ("float16", "bfloat16")

GPU_ONLY = {"moe_mlp": {("mlx", "native"): HALF, ("mlx", "sorted"): HALF}}

NOT_COMPILED = {"moe_mlp": {("torch", "native"): ("float32", "float16")}}

BYTES = {"moe_mlp": moe_bytes}

FLOPS = {
    "moe_mlp": moe_flops,
    "rms_norm": lambda problem, shape: 4 * elements(problem, shape),
    "gelu": lambda problem, shape: {"none": 5, "tanh": 9}[problem.approximate] * elements(problem, shape),
    "silu": lambda problem, shape: 3 * elements(problem, shape),
    "sigmoid": lambda problem, shape: 3 * elements(problem, shape),
    "relu": lambda problem, shape: elements(problem, shape),
    "leaky_relu": lambda problem, shape: 2 * elements(problem, shape),
    "prelu": lambda problem, shape: 2 * elements(problem, shape),
    "selu": lambda problem, shape: 4 * elements(problem, shape),
    "softplus": lambda problem, shape: 3 * elements(problem, shape),
    "cross_entropy": lambda problem, shape: shape.batch_size * shape.seq_len * (4 * problem.vocab_size + 2),
    "binary_cross_entropy": lambda problem, shape: 5 * elements(problem, shape),
}

SCALE = {"cross_entropy": (8, 14)}  # near log(32000), about what a model loses that knows nothing
