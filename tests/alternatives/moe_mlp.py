"""Other ways to write a mixture of experts: the operator's own variants."""

from mtbench.catalogue import registry


class Alternatives(registry.load("operator", "moe_mlp")):
    torch_batched = registry.load("operator", "moe_mlp").torch_batched
    torch_loop = registry.load("operator", "moe_mlp").torch_loop
    mlx_sorted = registry.load("operator", "moe_mlp").mlx_sorted
    mlx_batched = registry.load("operator", "moe_mlp").mlx_batched
