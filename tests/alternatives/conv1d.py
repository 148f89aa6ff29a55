"""Other ways to write a convolution of sequences."""

from types import SimpleNamespace
from typing import Any

from mtbench import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "conv1d")):
    def torch_as_image(self, w: SimpleNamespace) -> Call:
        import torch
        from torch.nn import functional as F

        weight = w.weight.permute(0, 2, 1)[:, :, None].contiguous(memory_format=torch.channels_last)

        def call(x: Any) -> Any:
            image = x.permute(0, 2, 1)[:, :, None]
            out = F.conv2d(image, weight, w.bias, (1, self.stride), (0, self.padding), groups=self.groups)
            return out[:, :, 0].permute(0, 2, 1)

        return call

    def torch_channels_first(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        weight = w.weight.permute(0, 2, 1).contiguous()
        return lambda x: F.conv1d(
            x.permute(0, 2, 1), weight, w.bias, self.stride, self.padding, groups=self.groups
        ).permute(0, 2, 1)
