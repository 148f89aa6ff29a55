"""Convolution over the sequence."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mtbench.operators._convolution import Convolution
from mtbench.operators.base import Call, Dimensions, Shape


@dataclass(frozen=True)
class Conv1d(Convolution):
    """out[p] = sum over k of weight[:, k] x[stride p + k - padding] + bias, over the sequence, zeros outside it.

    x: (batch, seq, in), weight: (out, kernel, in / groups), bias: (out,) -> (batch, out_seq, out), out_seq being
    (seq + 2 padding - kernel) // stride + 1. The default is a layer of Whisper's stem (Radford et al. 2022,
    https://arxiv.org/abs/2212.04356). Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv1d.html.

    torch has a channels-last format for images alone, and its conv1d copies any other layout to channels first. So its form
    is the convolution of an image of height 1, which takes the sequence as it lies in memory.
    """

    def positions(self, shape: Shape) -> Dimensions:
        return (shape.seq_len,)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.nn.functional import conv2d

        weight = w.weight.permute(0, 2, 1).unsqueeze(2).contiguous(memory_format=torch.channels_last)
        bias, stride, padding = getattr(w, "bias", None), (1, self.stride), (0, self.padding)

        def call(x: Any) -> Any:
            image = x.transpose(1, 2).unsqueeze(2)
            return conv2d(image, weight, bias, stride, padding, groups=self.groups).squeeze(2).transpose(1, 2)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight, bias = w.weight, getattr(w, "bias", None)
        if bias is None:
            return lambda x: mx.conv1d(x, weight, self.stride, self.padding, groups=self.groups)
        return lambda x: mx.conv1d(x, weight, self.stride, self.padding, groups=self.groups) + bias
