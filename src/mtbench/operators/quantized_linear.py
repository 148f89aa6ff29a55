"""Linear projection whose weight is integer codes with a scale and an offset for each group of them."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import ITEM_BYTES, Call, Dimensions, Host, Operator, Shape, Size, array_bytes

WORD_BITS = 32
"""MLX packs codes into words of so many bits, the first code lowest."""

PART = 2**20
"""So many weights `product_in_parts` dequantises at a time: they stay in a CPU's cache, while a whole weight of 32 MiB and
more is memory that the system must find anew in each call. On two cores of an AMD EPYC with torch 2.13 at (4096, 4096): in
bfloat16 1 row 7.9 ms instead of 30 and 512 rows 59 instead of 67, in float32 1 row 10 instead of 55."""

DEQUANTISE = "operator.variant=product dequantises the weight in every call instead"


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

    The native form is that kernel; where torch has none it is not supported. `product` dequantises the weight in each call and
    multiplies by it, in torch for 8 bits, too: the kernel unpacks the weight again for every row or few rows, as generating a
    token wants it, the product once, so that with many rows it is the faster one. `product_in_parts`, in torch, does so with a
    part of the rows of the weight at a time, `product_in_one_pass` by one operation on all of it; `product_of_bytes`, in MLX
    for 8 bits, without mx.dequantize, in one kernel; `in_float32`, in MLX, gives the kernel float32.
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
        embed_dim, out_features, group_size = self.embed_dim, self.out_features, self.group_size
        zeros = w.biases.float() + 8 * w.scales.float()
        scales_and_zeros = torch.stack([w.scales.T.float(), zeros.T], dim=-1).to(dtype).contiguous()

        def call(x: Any) -> Any:
            batch, seq, _ = x.shape
            out = multiply(x.reshape(batch * seq, embed_dim).contiguous(), packed, group_size, scales_and_zeros)
            return out.view(batch, seq, out_features)

        return call

    def torch_product(self, w: SimpleNamespace) -> Call:
        """By a plain product, with the weight unpacked and dequantised in each call."""
        return self._torch_product(w, self.out_features)

    def torch_product_in_parts(self, w: SimpleNamespace) -> Call:
        """The same, PART weights at a time."""
        return self._torch_product(w, max(1, PART // self.embed_dim))

    def torch_product_in_one_pass(self, w: SimpleNamespace) -> Call:
        """The same by addcmul, one pass over the weight instead of two; on CPUs it is slow where its operands are broadcast."""
        return self._torch_product(w, self.out_features, in_one_pass=True)

    def _torch_product(self, w: SimpleNamespace, rows: int, in_one_pass: bool = False) -> Call:
        import torch
        from torch.nn.functional import linear

        unpacked, *stored = self._torch_stored(torch, w)

        def dequantised(packed: Any, scales: Any, biases: Any) -> Any:
            codes = unpacked(packed)
            weight = torch.addcmul(biases, codes, scales) if in_one_pass else (codes * scales).add_(biases)
            return weight.view(-1, self.embed_dim)

        parts = list(zip(*(each.split(rows) for each in stored), strict=True))
        if len(parts) == 1:
            return lambda x: linear(x, dequantised(*stored))
        return lambda x: torch.cat([linear(x, dequantised(*part)) for part in parts], dim=-1)

    def _torch_stored(self, torch: Any, w: SimpleNamespace) -> tuple[Call, Any, Any, Any]:
        """What unpacks codes, these in memory of `bits` bits for each, and the scales and biases to apply to them.

        Of 4 bits, a byte holds a code of the first half of a row, high, and one of the second half. One operation on words of
        eight bytes takes them apart, since kernels that broadcast go by elements and not by bytes. It leaves the high codes
        where they are, sixteen times as large, and their scales are a sixteenth instead: exact, unless that is subnormal.
        """
        codes = w.codes.to(torch.uint8)
        if self.bits == 8:
            codes = codes.view(*self.groups, self.group_size)
            return lambda stored: stored, codes, w.scales[..., None], w.biases[..., None]
        scales, biases, group_size = w.scales, w.biases, int(self.group_size)
        if self.groups[1] % 2:  # halve the group that lies across the middle of a row, and all others with it
            scales, biases = (each.repeat_interleave(2, dim=-1) for each in (scales, biases))
            group_size //= 2
        scales, biases = (each.view(self.out_features, 2, -1, 1) for each in (scales, biases))
        sixteenth = torch.tensor([1 / 16, 1], dtype=scales.dtype, device=scales.device)[:, None, None]
        first, second = codes.chunk(2, dim=-1)
        words = (first << 4 | second).view(torch.int64).view(self.out_features, 1, -1, group_size // 8)
        masks = torch.tensor([[0xF0] * 8, [0x0F] * 8], dtype=torch.uint8, device=codes.device).view(torch.int64)[
            ..., None
        ]
        return lambda stored: (stored & masks).view(torch.uint8), words, scales * sixteenth, biases

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

        packed, scales, biases = self._mlx_packed(w), w.scales, w.biases
        return lambda x: mx.quantized_matmul(x, packed, scales, biases, group_size=self.group_size, bits=self.bits)

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        """The kernel with x, scales and biases in float32: on the CPU it sums in x's dtype, so that a row of 768 comes out 3 %
        wrong in bfloat16. On GPUs it sums in float32."""
        import mlx.core as mx

        wide = SimpleNamespace(codes=w.codes, scales=w.scales.astype(mx.float32), biases=w.biases.astype(mx.float32))
        mx.eval(wide.scales, wide.biases)
        multiply = self.mlx(wide)
        return lambda x: multiply(x.astype(mx.float32)).astype(x.dtype)

    def mlx_product(self, w: SimpleNamespace) -> Call:
        """By a plain product, with the weight dequantised in each call."""
        import mlx.core as mx

        packed, scales, biases = self._mlx_packed(w), w.scales, w.biases
        return lambda x: x @ mx.dequantize(packed, scales, biases, group_size=self.group_size, bits=self.bits).T

    def mlx_product_of_bytes(self, w: SimpleNamespace) -> Call:
        """The same with bytes for codes, in one kernel of MLX's compiler."""
        import mlx.core as mx

        if self.bits != 8:
            raise Unsupported("operator.variant=product_of_bytes takes a byte for a code; it can do bits=8.")
        packed, scales, biases = self._mlx_packed(w), w.scales, w.biases
        dequantize = mx.compile(self._mlx_from_bytes)
        return lambda x: x @ dequantize(packed, scales, biases).T

    def _mlx_from_bytes(self, packed: Any, scales: Any, biases: Any) -> Any:
        import mlx.core as mx

        codes = packed.view(mx.uint8).reshape(*self.groups, self.group_size)
        return (codes * scales[..., None] + biases[..., None]).reshape(self.out_features, self.embed_dim)

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
