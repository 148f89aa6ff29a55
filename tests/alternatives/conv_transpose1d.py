"""Other ways to write a transposed convolution."""

from mtbench.catalogue import registry


class Alternatives(registry.load("operator", "conv_transpose1d")):
    torch_image = registry.load("operator", "conv_transpose1d").torch_image
