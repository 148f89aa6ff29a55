"""Other ways to write attention."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "sdpa")):
    """The operator's own variants, and other ways."""

    torch_products = registry.load("operator", "sdpa").torch_products
    torch_array_mask = registry.load("operator", "sdpa").torch_array_mask
    torch_repeated_heads = registry.load("operator", "sdpa").torch_repeated_heads
    torch_grouped_rows = registry.load("operator", "sdpa").torch_grouped_rows

    def torch_flash(self, w: SimpleNamespace) -> Call:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        native = self.torch(w)

        def call(*inputs: Any) -> Any:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return native(*inputs)

        return call

    def torch_cudnn(self, w: SimpleNamespace) -> Call:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        native = self.torch(w)

        def call(*inputs: Any) -> Any:
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                return native(*inputs)

        return call

    def torch_efficient(self, w: SimpleNamespace) -> Call:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        native = self.torch(w)

        def call(*inputs: Any) -> Any:
            with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
                return native(*inputs)

        return call

    def mlx_repeated_heads(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def call(q: Any, k: Any, v: Any) -> Any:
            k, v = (mx.repeat(x, self.groups, axis=1) for x in (k, v))
            mask = "causal" if self.causal and q.shape[2] > 1 else None
            return mx.fast.scaled_dot_product_attention(q, k, v, scale=self.head_size**-0.5, mask=mask)

        return call

    def mlx_array_mask(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def call(q: Any, k: Any, v: Any) -> Any:
            mask = None
            if self.causal:
                mask = mx.tri(q.shape[2], k.shape[2], k.shape[2] - q.shape[2], dtype=mx.float32).astype(mx.bool_)
            return mx.fast.scaled_dot_product_attention(q, k, v, scale=self.head_size**-0.5, mask=mask)

        return call
