"""Other ways to write a quantised linear projection."""

from mtbench import registry


class Alternatives(registry.load("operator", "quantized_linear")):
    """Which one of the operator's own two ways is taken depends on the number of rows."""

    torch_kernel = registry.load("operator", "quantized_linear").torch_kernel
    torch_product = registry.load("operator", "quantized_linear").torch_product
    mlx_kernel = registry.load("operator", "quantized_linear").mlx_kernel
    mlx_product = registry.load("operator", "quantized_linear").mlx_product
