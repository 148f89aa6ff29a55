"""Transposed convolution over the sequence."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

from mtbench.errors import ConfigError
from mtbench.operators._convolution import Convolution
from mtbench.operators.base import Call, Dimensions, Shape, Size


@dataclass(frozen=True)
class ConvTranspose1d(Convolution):
    """out[stride p + k - padding] += weight[:, k] x[p] for every position p and offset k, plus bias: what upsamples audio.

    x: (batch, seq, in), weight: (out, kernel, in / groups), bias: (out,) -> (batch, out_seq, out), out_seq being
    (seq - 1) stride - 2 padding + kernel + output_padding; what lies outside is dropped. The default doubles the length, with a
    kernel of twice the stride, as the generators of HiFi-GAN do (Kong et al. 2020, https://arxiv.org/abs/2010.05646). Source:
    https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose1d.html.

    torch's conv_transpose1d gets a view with channels first. The variant `image` convolves an image of height 1, in the
    channels-last format that torch has for images alone.
    """

    kernel_size: Size = 4
    stride: Size = 2
    output_padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.output_padding < self.stride:
            raise ConfigError(
                f"operator.params.output_padding={self.output_padding} does not fit; it must be 0 or more and below "
                f"stride={self.stride}."
            )

    def positions(self, shape: Shape) -> Dimensions:
        return (shape.seq_len,)

    def out_positions(self, shape: Shape) -> Dimensions:
        return tuple(self._out_length(size) for size in self.positions(shape))

    def _out_length(self, length: int) -> int:
        return (length - 1) * self.stride - 2 * self.padding + self.kernel_size + self.output_padding

    def flops(self, shape: Shape) -> float:
        # a multiply-add per weight and input position, those whose result is dropped included, as is usual
        return 2.0 * shape.batch_size * prod(self.positions(shape)) * prod(self.weight_shapes()["weight"])

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        batch, length, _ = x.shape
        seen, last = self._by_group(xp, x), self.kernel_size - 1
        out = None
        for offset in range(self.kernel_size):
            taps = xp.reshape(w.weight[:, offset], (self.groups, -1, self.in_channels // self.groups))
            part = xp.permute_dims(seen @ xp.permute_dims(taps, (0, 2, 1)), (0, 2, 1, 3))
            part = xp.reshape(part, (batch, length, 1, self.out_features))
            if self.stride > 1:  # zeros between the positions
                between = xp.zeros((batch, length, self.stride - 1, self.out_features), dtype=x.dtype)
                part = xp.concat([part, between], axis=2)
            part = xp.reshape(part, (batch, length * self.stride, self.out_features))
            ends = [xp.zeros((batch, size, self.out_features), dtype=x.dtype) for size in (offset, last - offset)]
            part = xp.concat([ends[0], part, ends[1]], axis=1) if last else part
            out = part if out is None else out + part
        assert out is not None
        out = out[:, self.padding : self.padding + self._out_length(length)]
        return out + w.bias if self.bias else out

    def _torch_weight(self, w: SimpleNamespace) -> Any:
        """(in, out / groups, kernel), as torch has it."""
        grouped = w.weight.unflatten(0, (self.groups, -1))
        return grouped.permute(0, 3, 1, 2).flatten(0, 1).contiguous()

    def torch(self, w: SimpleNamespace) -> Call:
        from torch.nn.functional import conv_transpose1d

        weight, bias = self._torch_weight(w), getattr(w, "bias", None)
        settings = (self.stride, self.padding, self.output_padding, self.groups)
        return lambda x: conv_transpose1d(x.transpose(1, 2), weight, bias, *settings).transpose(1, 2)

    def torch_image(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.nn.functional import conv_transpose2d

        weight = self._torch_weight(w).unsqueeze(2).contiguous(memory_format=torch.channels_last)
        bias = getattr(w, "bias", None)
        settings = ((1, self.stride), (0, self.padding), (0, self.output_padding), self.groups)

        def call(x: Any) -> Any:
            image = x.transpose(1, 2).unsqueeze(2)
            return conv_transpose2d(image, weight, bias, *settings).squeeze(2).transpose(1, 2)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight, bias = w.weight, getattr(w, "bias", None)
        settings = (self.stride, self.padding, 1, self.output_padding, self.groups)
        if bias is None:
            return lambda x: mx.conv_transpose1d(x, weight, *settings)
        return lambda x: mx.conv_transpose1d(x, weight, *settings) + bias
