"""Fundamental operators of arrays and of language models, as torch's functions and plain loops have them."""

from math import log2
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mtbench.operators.base import Host, Shape

AXES = {"batch": 0, "seq": 1, "embed": 2}


def matmul(problem: Any, weights: dict[str, Host], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bse,beo->bso", a, b)


def conv1d(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    weight, bias = torch.from_numpy(weights["weight"]).mT, weights.get("bias")
    bias = None if bias is None else torch.from_numpy(bias)
    return F.conv1d(x.mT, weight, bias, problem.stride, problem.padding, groups=problem.groups).mT


def conv2d(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    weight, bias = torch.from_numpy(weights["weight"]).movedim(-1, 1), weights.get("bias")
    bias = None if bias is None else torch.from_numpy(bias)
    out = F.conv2d(x.movedim(-1, 1), weight, bias, problem.stride, problem.padding, groups=problem.groups)
    return out.movedim(1, -1)


def conv_transpose1d(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    weight, stride = weights["weight"], problem.stride
    out_size, kernel, width = weight.shape
    whole = np.zeros((x.shape[0], (x.shape[1] - 1) * stride + kernel + problem.output_padding, out_size))
    for position, offset, feature in np.ndindex(x.shape[1], kernel, out_size):
        first = feature // (out_size // problem.groups) * width
        seen = x.numpy()[:, position, first : first + width]
        whole[:, position * stride + offset, feature] += seen @ weight[feature, offset]
    kept = whole[:, problem.padding : whole.shape[1] - problem.padding]
    return torch.from_numpy(kept + weights.get("bias", 0.0))


def concat(problem: Any, weights: dict[str, Host], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    axis = AXES[problem.axis]
    return torch.stack([row for x in (a, b) for row in x.unbind(axis)], axis)


def sort(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.apply_along_axis(sorted, AXES[problem.axis], x.numpy()))


def argsort(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    def order(row: Host) -> list[int]:
        return sorted(range(len(row)), key=lambda index: float(row[index]))

    return torch.from_numpy(np.apply_along_axis(order, AXES[problem.axis], x.numpy()))


def top_k(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, indices = torch.sort(x, -1)
    return values[..., -problem.k :], indices[..., -problem.k :]


def argmax(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    if problem.axis == "all":
        values = x.flatten().tolist()
        return torch.tensor(values.index(max(values)))
    return torch.max(x, AXES[problem.axis]).indices


def sum(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    into = {"batch": "se", "seq": "be", "embed": "bs", "all": ""}[problem.axis]
    return torch.einsum(f"bse->{into}", x)


def gather(problem: Any, weights: dict[str, Host], x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(x)
    for place in np.ndindex(*x.shape):
        source = list(place)
        source[AXES[problem.axis]] = int(index[place])
        out[place] = x[tuple(source)]
    return out


def scatter_add(problem: Any, weights: dict[str, Host], *inputs: torch.Tensor) -> torch.Tensor:
    base, index, updates = (values.numpy() for values in inputs)
    out = base.copy()
    np.add.at(out, index, updates)
    return torch.from_numpy(out)


def scatter_max(problem: Any, weights: dict[str, Host], *inputs: torch.Tensor) -> torch.Tensor:
    base, index, updates = (values.numpy() for values in inputs)
    out = base.copy()
    np.maximum.at(out, index, updates)
    return torch.from_numpy(out)


def copy(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.array(x.tolist()))


def embedding(problem: Any, weights: dict[str, Host], ids: torch.Tensor) -> torch.Tensor:
    one_hot = F.one_hot(ids, problem.vocab_size).double()
    return one_hot @ torch.from_numpy(weights["weight"])


def sampling(problem: Any, weights: dict[str, Host], *inputs: torch.Tensor) -> torch.Tensor:
    logits = inputs[0]
    if problem.method == "greedy":
        return torch.max(logits, -1).indices
    chosen = torch.zeros(logits.shape[:2], dtype=torch.int64)
    for row in np.ndindex(*logits.shape[:2]):
        candidates = sorted(range(problem.vocab_size), key=lambda token: -logits[row][token].item())[: problem.k]
        # the same sample as a race, won by the first of exponential times at the rates of the probabilities
        rates = torch.softmax(logits[row][candidates] / problem.temperature, -1)
        times = torch.exp(-inputs[1][row][candidates]) / rates
        chosen[row] = candidates[int(times.argmin())]
    return chosen


def quantized_linear(problem: Any, weights: dict[str, Host], x: torch.Tensor) -> torch.Tensor:
    codes, scales = weights["codes"], weights["scales"]
    size = problem.group_size or {"affine": 64, "mxfp4": 32, "nvfp4": 16}[problem.mode]
    weight = np.zeros(codes.shape)
    for row, column in np.ndindex(codes.shape):
        group, code = (row, column // size), int(codes[row, column])
        if problem.mode == "affine":
            weight[row, column] = scales[group] * code + weights["biases"][group]
        else:
            exponent, half = code >> 1 & 3, code & 1
            magnitude = half / 2 if exponent == 0 else (1 + half / 2) * 2 ** (exponent - 1)
            weight[row, column] = scales[group] * (-magnitude if code & 8 else magnitude)
    return x @ torch.from_numpy(weight.T if problem.transpose else weight)


def elements(problem: Any, shape: Shape) -> int:
    return int(shape.batch_size * shape.seq_len * problem.embed_dim)


def tokens(shape: Shape) -> int:
    return shape.batch_size * shape.seq_len


def size_along(problem: Any, shape: Shape) -> int:
    return int({"batch": shape.batch_size, "seq": shape.seq_len, "embed": problem.embed_dim}[problem.axis])


def sampled(problem: Any) -> int:
    return int(problem.k) if problem.method == "top_k" else 0


SMALL = {
    # a base that needs every part of the definition; the defaults are tried at their full width
    "conv1d": {"in_channels": 8, "groups": 2, "stride": 2},
    "conv2d": {"in_channels": 8, "groups": 2, "stride": 2, "kernel_size": 2},
    "conv_transpose1d": {"in_channels": 8, "groups": 2, "stride": 3, "output_padding": 1},
    "sampling": {"k": 5},
    "quantized_linear": {"embed_dim": 128, "out_dim": 64},
}

PARTIAL = {"quantized_linear": ("torch",)}  # 4 bits, and only for some sizes; test_fundamentals.py has which

WRONG = {"quantized_linear": {("mlx", "native"): ("float16", "bfloat16")}}  # MLX's kernel sums in x's dtype there

FLOPS = {
    "conv_transpose1d": lambda problem, shape: (
        2 * tokens(shape) * problem.weights(np.random.default_rng(0))["weight"].size
    ),
    "argsort": lambda problem, shape: elements(problem, shape) * log2(size_along(problem, shape)),
    "top_k": elements,
    "sort": lambda problem, shape: elements(problem, shape) * log2(size_along(problem, shape)),
    "argmax": elements,
    "sum": elements,
    "scatter_add": lambda problem, shape: problem.updates_per_row * elements(problem, shape),
    "scatter_max": lambda problem, shape: problem.updates_per_row * elements(problem, shape),
    "sampling": lambda problem, shape: tokens(shape) * (problem.vocab_size + 3 * sampled(problem)),
}


def scale_bytes(problem: Any, dtype: str) -> float:
    """For each weight: scale and offset of a group in a dtype, or a scale of one byte."""
    return {"mxfp4": 1 / 32, "nvfp4": 1 / 16}.get(problem.mode) or 2 * itemsize(dtype) / (problem.group_size or 64)


def itemsize(dtype: str) -> int:
    return int(getattr(torch, dtype).itemsize)


BYTES = {
    "top_k": lambda problem, shape, dtype: (
        tokens(shape) * ((problem.embed_dim + problem.k) * itemsize(dtype) + 4 * problem.k)
    ),
    "embedding": lambda problem, shape, dtype: (
        (min(tokens(shape), problem.vocab_size) + tokens(shape)) * problem.embed_dim * itemsize(dtype)
        + 4 * tokens(shape)
    ),
    "sampling": lambda problem, shape, dtype: (
        tokens(shape) * ((problem.vocab_size + sampled(problem)) * itemsize(dtype) + 4)
    ),
    "quantized_linear": lambda problem, shape, dtype: (
        tokens(shape) * (problem.embed_dim + problem.out_features) * itemsize(dtype)
        + problem.out_features * problem.embed_dim * (problem.bits / 8 + scale_bytes(problem, dtype))
    ),
}

SCALE = {
    "sum": (80, 160),  # around 4 sqrt(embed_dim), by construction
    "argmax": (200, 768),
    "argsort": (200, 768),
    "top_k": (1, 768),
    "embedding": (0.1, 4),
    "sampling": (2000, 32000),
}
