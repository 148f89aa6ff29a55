"""What the convolutions share: parameters, positions, and the definition over any number of spatial axes.

Everything is channels-last: inputs (batch, positions..., channels), weights (out, kernel..., in / groups). That is MLX's
layout. torch's functions take channels first, and get the same memory as a permuted view, which is torch's own channels-last
format (https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html): nothing is transposed while it is
timed, and the kernels for that format are those that half precision on GPUs wants.
"""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import product
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators.base import Dimensions, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class Convolution(Operator):
    """out[p, o] = sum over offsets k and channels c of x[stride p + k - padding, c] weight[o, k, c], plus bias[o].

    Outside of x are zeros. With groups, output channels see only the input channels of their own group; `groups` equal to
    `in_channels` is a depthwise convolution. `out_channels` is `in_channels` where it is not given.
    """

    in_channels: Size = 768
    out_channels: Size | None = None
    kernel_size: Size = 3
    stride: Size = 1
    padding: int = 1
    groups: Size = 1
    bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding < 0:
            raise ConfigError(f"operator.params.padding={self.padding} does not fit; it must be 0 or more.")
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_features)):
            if channels % self.groups:
                raise ConfigError(f"{name}={channels} cannot be split into groups={self.groups} equal groups.")

    @abstractmethod
    def positions(self, shape: Shape) -> Dimensions:
        """The sizes of the input's spatial axes."""

    @property
    def out_features(self) -> int:
        return self.out_channels or self.in_channels

    def out_positions(self, shape: Shape) -> Dimensions:
        return tuple((size + 2 * self.padding - self.kernel_size) // self.stride + 1 for size in self.positions(shape))

    def output_axes(self, axes: int) -> tuple[str, ...]:
        return ("batch", *("row", "column", "plane")[: axes - 2], "channel")

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if min(self.out_positions(shape)) < 1:
            raise ConfigError(
                f"kernel_size={self.kernel_size} is longer than shape.seq_len={shape.seq_len} and padding={self.padding} "
                "on either side, so there is no output."
            )

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, *self.positions(shape), self.in_channels))}

    def weight_shapes(self) -> dict[str, Dimensions]:
        kernel = (self.kernel_size,) * len(self.positions(Shape(1, 1)))
        bias = {"bias": (self.out_features,)} if self.bias else {}
        return {"weight": (self.out_features, *kernel, self.in_channels // self.groups), **bias}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        shapes = self.weight_shapes()
        fan_in = prod(shapes["weight"][1:])
        scales = {"weight": fan_in**-0.5, "bias": 0.1}
        return {name: rng.normal(scale=scales[name], size=size) for name, size in shapes.items()}

    def flops(self, shape: Shape) -> float:
        # a multiply-add per weight and output position, those with padding included, as is usual
        return 2.0 * shape.batch_size * prod(self.out_positions(shape)) * prod(self.weight_shapes()["weight"])

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, *self.positions(shape), self.in_channels)
        out = (shape.batch_size, *self.out_positions(shape), self.out_features)
        return array_bytes({"x": x, "out": out} | self.weight_shapes(), dtype)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        axes = range(1, len(x.shape) - 1)
        for axis in axes if self.padding else ():
            size = (*x.shape[:axis], self.padding, *x.shape[axis + 1 :])
            zeros = xp.zeros(size, dtype=x.dtype)
            x = xp.concat([zeros, x, zeros], axis=axis)
        lengths = [(x.shape[axis] - self.kernel_size) // self.stride + 1 for axis in axes]
        out = None
        for offsets in product(range(self.kernel_size), repeat=len(axes)):
            window = [
                slice(k, k + self.stride * (n - 1) + 1, self.stride) for k, n in zip(offsets, lengths, strict=True)
            ]
            seen = self._by_group(xp, x[(slice(None), *window)])
            taps = xp.reshape(w.weight[(slice(None), *offsets)], (self.groups, -1, self.in_channels // self.groups))
            part = seen @ xp.permute_dims(taps, (0, 2, 1))
            out = part if out is None else out + part
        out = xp.reshape(xp.permute_dims(out, (0, 2, 1, 3)), (x.shape[0], *lengths, self.out_features))
        return out + w.bias if self.bias else out

    def _by_group(self, xp: Any, x: Any) -> Any:
        """(batch, positions..., channels) -> (batch, groups, all positions, channels of a group)."""
        size = self.in_channels // self.groups
        return xp.permute_dims(xp.reshape(x, (x.shape[0], -1, self.groups, size)), (0, 2, 1, 3))
