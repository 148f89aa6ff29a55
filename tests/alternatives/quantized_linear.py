"""Other ways to write a quantised linear projection."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "quantized_linear")):
    """The operator's own variants, and other ways to dequantise."""

    torch_product = registry.load("operator", "quantized_linear").torch_product
    torch_product_in_parts = registry.load("operator", "quantized_linear").torch_product_in_parts
    torch_product_in_one_pass = registry.load("operator", "quantized_linear").torch_product_in_one_pass
    mlx_product = registry.load("operator", "quantized_linear").mlx_product

    def torch_by_pairs(self, w: SimpleNamespace) -> Call:
        """Neighbours in a byte, each written where it belongs."""
        import torch

        first, second = self.pairs(torch, w)
        packed = first << 4 | second

        def codes() -> Any:
            out = torch.empty((*packed.shape, 2), dtype=w.scales.dtype, device=packed.device)
            out[..., 0] = packed >> 4
            out[..., 1] = packed & 15
            return out

        return self.multiplied(torch, w, codes)

    def torch_stacked(self, w: SimpleNamespace) -> Call:
        import torch

        first, second = self.pairs(torch, w)
        packed = first << 4 | second
        return self.multiplied(torch, w, lambda: torch.stack([packed >> 4, packed & 15], dim=-1))

    def torch_masked(self, w: SimpleNamespace) -> Call:
        """The high code sixteen times as large, with a sixteenth of its scale."""
        import torch
        from torch.nn.functional import linear

        first, second = self.pairs(torch, w)
        packed = (first << 4 | second)[..., None]
        masks = torch.tensor([240, 15], dtype=torch.uint8, device=packed.device)
        scales = torch.stack([w.scales / 16, w.scales], dim=-1)[..., None, :]
        biases = w.biases[..., None, None]
        shape = (*self.groups, self.group // 2, 2)

        def call(x: Any) -> Any:
            weight = torch.addcmul(biases, (packed & masks).view(shape), scales)
            return linear(x, weight.view(self.out_features, self.embed_dim))

        return call

    def torch_columns(self, w: SimpleNamespace) -> Call:
        """The weight transposed, so that scales lie beside each other as its columns do."""
        import torch

        first, second = w.codes.to(torch.uint8).T.chunk(2)
        packed = (first << 4 | second if self.bits == 4 else w.codes.to(torch.uint8).T).contiguous()
        scales, biases = (each.T[:, None].contiguous() for each in (w.scales, w.biases))
        shape = (-1, self.group, self.out_features)

        def call(x: Any) -> Any:
            codes = torch.cat([packed >> 4, packed & 15]) if self.bits == 4 else packed
            return x @ torch.addcmul(biases, codes.view(shape), scales).view(self.embed_dim, self.out_features)

        return call

    def mlx_dequantized(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        weight = self._mlx_stored(w)
        return lambda x: x @ mx.dequantize(*weight, self.group, self.bits).T

    def mlx_fused(self, w: SimpleNamespace) -> Call:
        """Words taken apart by elementwise operations, in one kernel."""
        import mlx.core as mx

        packed, scales, biases = (each[..., None] for each in self._mlx_stored(w))
        shifts, mask = mx.arange(0, 32, self.bits, dtype=mx.uint32), mx.array(2**self.bits - 1, dtype=mx.uint32)

        @mx.compile
        def dequantized(packed: Any, scales: Any, biases: Any) -> Any:
            codes = ((packed >> shifts) & mask).reshape(*self.groups, self.group)
            return (codes.astype(scales.dtype) * scales + biases).reshape(self.out_features, self.embed_dim)

        return lambda x: x @ dequantized(packed, scales, biases).T

    def pairs(self, torch: Any, w: SimpleNamespace) -> Any:
        if self.bits != 4:
            raise NotImplementedError("two codes are in a byte with 4 bits only")
        return w.codes.to(torch.uint8).unflatten(-1, (-1, 2)).unbind(-1)

    def multiplied(self, torch: Any, w: SimpleNamespace, codes: Any) -> Call:
        scales, biases, in_groups = w.scales[..., None], w.biases[..., None], (*self.groups, self.group)

        def call(x: Any) -> Any:
            weight = torch.addcmul(biases, codes().view(in_groups), scales)
            return torch.nn.functional.linear(x, weight.view(self.out_features, self.embed_dim))

        return call
