"""RMS norm, MLPs, activations and losses, as torch's modules and plain NumPy have them."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mtbench.operators.base import Host, Shape

GATES = {"silu": nn.SiLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh")}


def rms_norm(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    rows = [row / np.sqrt(row @ row / len(row) + problem.eps) for row in x.numpy().reshape(-1, x.shape[-1])]
    return torch.from_numpy(np.array(rows).reshape(x.shape) * weights["weight"])


def swiglu_mlp(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    t = {name: torch.from_numpy(value) for name, value in weights.items()}
    gate, up = (F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias")) for name in ("gate_proj", "up_proj"))
    return F.linear(GATES[problem.activation](gate) * up, t["down_proj.weight"], t.get("down_proj.bias"))


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


FLOPS = {
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
