"""Convolution over square images."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._convolution import Convolution
from mtbench.operators.base import Call, Dimensions, Shape, Size


@dataclass(frozen=True)
class Conv2d(Convolution):
    """out[p, q] = sum over k, l of weight[:, k, l] x[stride p + k - padding, stride q + l - padding] + bias.

    x: (batch, seq, seq, in), an image whose height and width are both `shape.seq_len`, with zeros around it; weight:
    (out, kernel, kernel, in / groups), bias: (out,) -> (batch, size, size, out), size being
    (seq + 2 padding - kernel) // stride + 1. Kernel, stride and padding are the same in both directions. Source:
    https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html.
    """

    in_channels: Size = 64

    def positions(self, shape: Shape) -> Dimensions:
        return (shape.seq_len, shape.seq_len)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.nn.functional import conv2d

        weight = w.weight.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        bias = getattr(w, "bias", None)

        def call(x: Any) -> Any:
            image = x.permute(0, 3, 1, 2)
            return conv2d(image, weight, bias, self.stride, self.padding, groups=self.groups).permute(0, 2, 3, 1)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight, bias = w.weight, getattr(w, "bias", None)
        if bias is None:
            return lambda x: mx.conv2d(x, weight, self.stride, self.padding, groups=self.groups)
        return lambda x: mx.conv2d(x, weight, self.stride, self.padding, groups=self.groups) + bias
