"""Other ways to write a convolution of sequences."""

from types import SimpleNamespace

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "conv1d")):
    def torch_channels_first(self, w: SimpleNamespace) -> Call:
        from torch.nn import functional as F

        weight = w.weight.permute(0, 2, 1).contiguous()
        return lambda x: F.conv1d(
            x.permute(0, 2, 1), weight, w.bias, self.stride, self.padding, groups=self.groups
        ).permute(0, 2, 1)
