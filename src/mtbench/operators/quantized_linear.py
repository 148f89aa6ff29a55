"""Linear projection whose weight is integer codes with a scale and an offset for each group of them."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import ITEM_BYTES, Call, Dimensions, Host, Operator, Shape, Size, array_bytes

WORD_BITS = 32
"""MLX packs codes into words of so many bits, the first code lowest."""

DEQUANTISE = "operator.variant=product dequantises the weight in every call instead"

TORCH_PRODUCT_FROM = {
    ("cpu", "float32"): (0.6, 6e4),
    ("cpu", "float16"): (0.6, 6e4),
    ("cpu", "bfloat16"): (75.0, 1.4e7),
    ("cuda", "bfloat16"): (80.0, 1e9),
}
MLX_PRODUCT_FROM = {("cpu", "bfloat16"): (6.0, 0.0), ("cpu", "float16"): (32.0, 0.0)}
"""From `a + b / weights` rows on, a plain product with a weight that is dequantised first is faster than the library's kernel,
which unpacks the weight for every row or few rows, as generating a token wants it. By device and dtype; where nothing was
measured, the kernel is taken.

Measured on two cores of an AMD EPYC, torch 2.13 and MLX 0.32. torch at (1024, 1024), kernel against product: float32, 16 rows
14.4 and 1.4 ms, 1 row 0.89 and 0.35, but up to 1.4 in some lives of the process; float16, 1 row 0.97 and 0.58; bfloat16, 1 row
0.06 and 0.67, 64 rows 0.83 and 1.00, 128 rows 1.6 and 1.35, 512 rows 6.3 and 3.0; at (256, 256) in bfloat16, 128 rows 0.12 and
0.19, 512 rows 0.41 and 0.34. MLX at (768, 768) in bfloat16, 4 rows 2.2 and 2.7, 8 rows 4.3 and 3.3, 64 rows 34 and 18 ms. On
an H200 torch's kernel took 600 us for 512 rows at (4096, 4096) and 43 at (1024, 1024), where a product with 8-bit codes took
168 us and, for 1 row, 83.
"""


@dataclass(frozen=True)
class QuantizedLinear(Operator):
    """y = x weight^T, where weight = scale code + bias in each group of `group_size` neighbours of a row.

    x: (batch, seq, embed) -> (batch, seq, out); codes: (out, embed), integers from 0 to 2^bits - 1; scales and biases: (out,
    embed / group_size), in x's dtype. `out_dim` is `embed_dim` where it is not given. Only the weight is quantised: products
    are of x's dtype. This is MLX's affine mode,
    https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.quantize.html; the codes are drawn as such, so
    that nothing is lost in quantising. Each library packs them beforehand.

    MLX has a kernel for it. torch has one for 4 bits, which takes weight = scale (code - 8) + zero, the same set of weights:
    in every dtype on the CPU and on MPS, in bfloat16 alone on CUDA (aten/src/ATen/native/cuda/int4mm.cu). Its kernel for 8
    bits, _weight_int8pack_mm, has one scale for a whole row and no offset, so that it computes something else.

    Two variants in each library: `kernel` is that kernel, and `product` dequantises the weight in each call and multiplies by
    it, in torch for 8 bits, too. The native form is the faster one for its number of rows; in torch it keeps the weight packed
    in both ways, since the kernel's own layout cannot be unpacked.
    """

    embed_dim: Size = 768
    out_dim: Size | None = None
    bits: Literal[8, 4] = 4
    group_size: Literal[32, 64, 128] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embed_dim % self.group_size:
            raise ConfigError(
                f"embed_dim={self.embed_dim} cannot be split into groups of group_size={self.group_size}."
            )

    @property
    def out_features(self) -> int:
        return self.out_dim or self.embed_dim

    @property
    def groups(self) -> Dimensions:
        return (self.out_features, self.embed_dim // self.group_size)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        levels = 2**self.bits
        # weights of variance 1/embed_dim: that of uniform codes is (levels^2 - 1) / 12; offsets centre them, nearly
        step = (self.embed_dim * (levels**2 - 1) / 12) ** -0.5
        scales = step * rng.uniform(0.8, 1.2, self.groups)
        return {
            "codes": rng.integers(levels, size=(self.out_features, self.embed_dim)),
            "scales": scales,
            "biases": -scales * (levels - 1) / 2 + rng.normal(scale=0.1 * self.embed_dim**-0.5, size=self.groups),
        }

    def flops(self, shape: Shape) -> float:
        # the matrix product alone, as of `linear`
        return 2.0 * shape.batch_size * shape.seq_len * self.embed_dim * self.out_features

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        rows = (shape.batch_size, shape.seq_len)
        arrays = {
            "x": (*rows, self.embed_dim),
            "out": (*rows, self.out_features),
            "scales": self.groups,
            "biases": self.groups,
        }
        return array_bytes(arrays, dtype) + self.out_features * self.embed_dim * self.bits / 8

    def host_bytes(self, shape: Shape) -> float:
        unpacked = self.out_features * self.embed_dim * (ITEM_BYTES["float64"] - self.bits / 8)  # codes are int64
        return super().host_bytes(shape) + unpacked

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        codes = xp.astype(xp.reshape(w.codes, (*self.groups, self.group_size)), x.dtype)
        weight = w.scales[..., None] * codes + w.biases[..., None]
        return x @ xp.reshape(weight, (self.out_features, self.embed_dim)).T

    def torch(self, w: SimpleNamespace) -> Call:
        product_from = TORCH_PRODUCT_FROM.get((w.codes.device.type, str(w.scales.dtype).removeprefix("torch.")))
        return self._by_rows(product_from, self.torch_kernel(w), self.torch_product(w))

    def torch_kernel(self, w: SimpleNamespace) -> Call:
        """By torch's kernel alone."""
        import torch

        device, dtype = w.codes.device.type, w.scales.dtype
        self._refuse_torch(torch, device, dtype)
        multiply: Call
        if device == "cpu":
            multiply = torch.ops.aten._weight_int4pack_mm_for_cpu
            packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(w.codes.int(), 1)  # which ignores the 1
        else:
            multiply = torch.ops.aten._weight_int4pack_mm
            inner_tiles = next(tiles for tiles in (8, 4, 2) if self.embed_dim % (16 * tiles) == 0)  # 16 columns each
            packed = torch.ops.aten._convert_weight_to_int4pack(_in_pairs(torch, w.codes), inner_tiles)
        zeros = w.biases.float() + 8 * w.scales.float()
        scales_and_zeros = torch.stack([w.scales.T.float(), zeros.T], dim=-1).to(dtype).contiguous()

        def call(x: Any) -> Any:
            out = multiply(x.reshape(-1, self.embed_dim), packed, self.group_size, scales_and_zeros)
            return out.reshape(*x.shape[:-1], self.out_features)

        return call

    def torch_product(self, w: SimpleNamespace) -> Call:
        """By a plain product, with the weight unpacked and dequantised in each call."""
        import torch
        from torch.nn.functional import linear

        scales, biases = w.scales[..., None], w.biases[..., None]
        packed = _in_pairs(torch, w.codes) if self.bits == 4 else w.codes.to(torch.uint8)
        in_groups, size = (*self.groups, self.group_size), (self.out_features, self.embed_dim)

        def unpacked() -> Any:
            if self.bits == 8:
                return packed.to(scales.dtype)
            codes = torch.empty((*packed.shape, 2), dtype=scales.dtype, device=packed.device)
            codes[..., 0] = packed >> 4
            codes[..., 1] = packed & 15
            return codes

        def call(x: Any) -> Any:
            weight = unpacked().view(in_groups).mul_(scales).add_(biases)
            return linear(x, weight.view(size))

        return call

    def _refuse_torch(self, torch: Any, device: str, dtype: Any) -> None:
        """Raises Unsupported where torch has no kernel for these parameters, this device and this dtype."""
        if self.bits != 4:
            raise Unsupported(
                f"torch has no kernel for bits={self.bits} with groups: _weight_int8pack_mm takes one scale per row and no "
                f"offset; {DEQUANTISE}."
            )
        if device == "cuda" and dtype != torch.bfloat16:
            raise Unsupported(f"torch's 4-bit kernel for CUDA takes dtype=bfloat16 only; {DEQUANTISE}.")
        if device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
            raise Unsupported(f"torch's 4-bit kernel for CUDA needs compute capability 8.0 or newer; {DEQUANTISE}.")
        multiple = 16 if device == "cpu" else 8
        if self.out_features % multiple:
            raise Unsupported(
                f"torch's 4-bit kernel takes out_dim in multiples of {multiple} on {device}, and not "
                f"{self.out_features}; {DEQUANTISE}."
            )

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        packed = self._mlx_packed(w)
        device = "cpu" if mx.default_device().type == mx.DeviceType.cpu else "gpu"
        product_from = MLX_PRODUCT_FROM.get((device, str(w.scales.dtype).removeprefix("mlx.core.")))
        return self._by_rows(product_from, self._mlx_kernel(w, packed), self._mlx_product(w, packed))

    def mlx_kernel(self, w: SimpleNamespace) -> Call:
        """By MLX's kernel alone."""
        return self._mlx_kernel(w, self._mlx_packed(w))

    def mlx_product(self, w: SimpleNamespace) -> Call:
        """By a plain product, with the weight dequantised in each call."""
        return self._mlx_product(w, self._mlx_packed(w))

    def _mlx_kernel(self, w: SimpleNamespace, packed: Any) -> Call:
        import mlx.core as mx

        on_cpu = mx.default_device().type == mx.DeviceType.cpu
        # On the CPU the kernel sums in x's dtype: a row of 768 comes out 3 % wrong in bfloat16. On GPUs it sums in float32.
        scales, biases = (each.astype(mx.float32) if on_cpu else each for each in (w.scales, w.biases))
        mx.eval(scales, biases)

        def multiply(x: Any) -> Any:
            return mx.quantized_matmul(x, packed, scales, biases, group_size=self.group_size, bits=self.bits)

        if on_cpu:
            return lambda x: multiply(x.astype(mx.float32)).astype(x.dtype)
        return multiply

    def _mlx_product(self, w: SimpleNamespace, packed: Any) -> Call:
        import mlx.core as mx

        scales, biases = w.scales, w.biases
        return lambda x: x @ mx.dequantize(packed, scales, biases, group_size=self.group_size, bits=self.bits).T

    def _by_rows(self, product_from: tuple[float, float] | None, kernel: Call, product: Call) -> Call:
        """The kernel for few rows and the product for many; the kernel alone where it is not known how many."""
        if product_from is None:
            return kernel
        at_any_size, shared = product_from
        fewest = at_any_size + shared / (self.out_features * self.embed_dim)

        def call(x: Any) -> Any:
            batch, rows, _ = x.shape  # once: libraries make a shape anew each time that it is asked for
            return kernel(x) if batch * rows < fewest else product(x)

        return call

    def _mlx_packed(self, w: SimpleNamespace) -> Any:
        """The codes in words, (out, embed * bits / 32) uint32, as `mx.quantize` packs them."""
        import mlx.core as mx

        per_word = WORD_BITS // self.bits
        codes = w.codes.astype(mx.uint32).reshape(self.out_features, -1, per_word)
        packed = mx.sum(codes << (self.bits * mx.arange(per_word, dtype=mx.uint32)), axis=-1)
        mx.eval(packed)
        return packed


def _in_pairs(torch: Any, codes: Any) -> Any:
    """Two neighbouring 4-bit codes of a row in each byte, the first one high, as torch's kernel for CUDA is given them."""
    return (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8).contiguous()
