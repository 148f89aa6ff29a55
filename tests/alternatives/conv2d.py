"""Other ways to write a convolution of images."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "conv2d")):
    def torch_channels_first(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        weight = w.weight.permute(0, 3, 1, 2).contiguous()

        def call(x: Any) -> Any:
            image = x.permute(0, 3, 1, 2).contiguous()
            out = F.conv2d(image, weight, w.bias, self.stride, self.padding, groups=self.groups)
            return out.permute(0, 2, 3, 1).contiguous()

        return call
