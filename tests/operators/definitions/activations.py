"""RMS norm, MLPs and activations, as torch's modules and plain NumPy have them."""

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


def gelu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.GELU(problem.approximate)(x)


def silu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.SiLU()(x)


def sigmoid(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.Sigmoid()(x)


def relu(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return nn.ReLU()(x)


def elements(problem: Any, shape: Shape) -> int:
    return int(shape.batch_size * shape.seq_len * problem.embed_dim)


FLOPS = {
    "rms_norm": lambda problem, shape: 4 * elements(problem, shape),
    "gelu": lambda problem, shape: {"none": 5, "tanh": 9}[problem.approximate] * elements(problem, shape),
    "silu": lambda problem, shape: 3 * elements(problem, shape),
    "sigmoid": lambda problem, shape: 3 * elements(problem, shape),
    "relu": lambda problem, shape: elements(problem, shape),
}
