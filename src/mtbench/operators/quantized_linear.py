"""Linear projection with a quantised weight: codes of few bits, and for each group of codes a scale and perhaps an offset."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import ITEM_BYTES, Call, Dimensions, Host, Operator, Shape, Size, array_bytes

GROUP_SIZES = {"affine": (32, 64, 128), "mxfp4": (32,), "nvfp4": (16,)}
DEFAULT_GROUPS = {"affine": 64, "mxfp4": 32, "nvfp4": 16}

E2M1 = [sign * value for sign in (1.0, -1.0) for value in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)]
"""The values of four bits: sign, two bits of exponent, one of mantissa (OCP Microscaling Formats 1.0, section 5.3.3)."""

E2M1_VARIANCE = float(np.var(E2M1))

FIRST_SCALE = {"mxfp4": 87, "nvfp4": 1}
SCALES = {
    "mxfp4": 2.0 ** (np.arange(FIRST_SCALE["mxfp4"], 168) - 127),
    "nvfp4": np.array([(m if e == 0 else 8 + m) * 2.0 ** (max(e, 1) - 10) for e in range(16) for m in range(8)][1:127]),
}
"""The values above 0 that a scale is drawn from, ascending, and the byte that stands for the first: of mxfp4 E8M0, as far as
needed, of nvfp4 E4M3."""

PART = 2**20
"""How many weights `product_in_parts` dequantises at a time. That many stay in a CPU's cache, while for a whole weight of 32
MiB or more the system must find memory anew in each call. Measured on two cores of an AMD EPYC with torch 2.13 at (4096, 4096):
in bfloat16, 1 row took 7.9 ms instead of 30 and 512 rows 59 ms instead of 67; in float32, 1 row took 10 ms instead of 55."""

BY_DEFINITION = "operator.variant=portable dequantises the weight in every call instead"

DEQUANTISE = "operator.variant=product dequantises the weight in every call instead"


@dataclass(frozen=True)
class QuantizedLinear(Operator):
    """y = x weight^T, where weight = scale code + bias in each group of `group_size` neighbours of a row.

    x: (batch, seq, embed) -> (batch, seq, out); codes: (out, embed), integers from 0 to 2^bits - 1; scales and biases: (out,
    embed / group_size), in x's dtype. `out_dim` is `embed_dim` where it is not given. Only the weight is quantised: products
    are in x's dtype. This is MLX's affine mode,
    https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.quantize.html; the codes themselves are drawn at
    random, so that nothing is lost in quantising. Each library packs them beforehand.

    `mode=mxfp4` and `nvfp4`: a code is a number in E2M1, of 4 bits, and there is no offset. The scale of mxfp4 is a power of
    two (E8M0) for 32 codes (OCP Microscaling Formats 1.0), that of nvfp4 an E4M3 for 16, here without a scale for the whole
    weight. `transpose=false`: codes are (embed, out), and y = x weight.

    MLX has a kernel for it. torch has one for 4 bits, which takes weight = scale (code - 8) + zero, the same set of weights:
    in every dtype on the CPU and on MPS, in bfloat16 alone on CUDA (aten/src/ATen/native/cuda/int4mm.cu). Its kernel for 8
    bits, _weight_int8pack_mm, has one scale for a whole row and no offset, so that it computes something else.

    The native form is that kernel; where torch has none it is not supported. `product` dequantises the weight in each call and
    multiplies by it, in torch for 8 bits, too. The kernel unpacks the weight again for every few rows, which suits generating a
    token; `product` unpacks it once a call, so that it is faster with many rows. `product_in_parts`, in torch, does this with a
    part of the weight's rows at a time, and `product_in_one_pass` by one operation on the whole weight. `product_of_bytes`, in
    MLX for 8 bits, dequantises in one compiled kernel, without mx.dequantize. `in_float32`, in MLX, gives the kernel float32.
    """

    embed_dim: Size = 768
    out_dim: Size | None = None
    bits: Literal[4, 2, 3, 5, 6, 8] = 4
    group_size: Literal[16, 32, 64, 128] | None = None
    mode: Literal["affine", "mxfp4", "nvfp4"] = "affine"
    transpose: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = GROUP_SIZES[self.mode]
        if self.group_size not in (None, *sizes):
            raise ConfigError(f"mode={self.mode} has groups of {' or '.join(map(str, sizes))}, not {self.group_size}.")
        if self.mode != "affine" and self.bits != 4:
            raise ConfigError(f"mode={self.mode} has 4 bits, not {self.bits}.")
        if self.weight_shape[1] % self.group:
            name = "embed_dim" if self.transpose else "out_dim"
            raise ConfigError(f"{name}={self.weight_shape[1]} cannot be split into groups of group_size={self.group}.")

    @property
    def group(self) -> int:
        """Codes in a group: `group_size`, or the format's own."""
        return self.group_size or DEFAULT_GROUPS[self.mode]

    @property
    def weight_shape(self) -> Dimensions:
        """Rows and columns of the codes; groups lie along a row."""
        return (self.out_features, self.embed_dim) if self.transpose else (self.embed_dim, self.out_features)

    @property
    def out_features(self) -> int:
        return self.out_dim or self.embed_dim

    @property
    def groups(self) -> Dimensions:
        return (self.weight_shape[0], self.weight_shape[1] // self.group)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        if self.mode != "affine":
            # weights of variance 1/embed_dim again, with scales that their format has
            scales = (self.embed_dim * E2M1_VARIANCE) ** -0.5 * rng.uniform(0.7, 1.4, self.groups)
            known = SCALES[self.mode]
            nearest = known[np.abs(np.log2(known[:, None]) - np.log2(scales.reshape(1, -1))).argmin(0)]
            return {
                "codes": rng.integers(2**self.bits, size=self.weight_shape),
                "scales": nearest.reshape(self.groups),
            }
        levels = 2**self.bits
        # weights of variance 1/embed_dim: that of uniform codes is (levels^2 - 1) / 12; offsets centre them, nearly
        step = (self.embed_dim * (levels**2 - 1) / 12) ** -0.5
        scales = step * rng.uniform(0.8, 1.2, self.groups)
        return {
            "codes": rng.integers(levels, size=self.weight_shape),
            "scales": scales,
            "biases": -scales * (levels - 1) / 2 + rng.normal(scale=0.1 * self.embed_dim**-0.5, size=self.groups),
        }

    def flops(self, shape: Shape) -> float:
        # the matrix product alone, as of `linear`
        return 2.0 * shape.batch_size * shape.seq_len * self.embed_dim * self.out_features

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        rows = (shape.batch_size, shape.seq_len)
        arrays: dict[str, Dimensions] = {"x": (*rows, self.embed_dim), "out": (*rows, self.out_features)}
        if self.mode == "affine":
            arrays |= {"scales": self.groups, "biases": self.groups}
        scale_bytes = 0 if self.mode == "affine" else prod(self.groups)  # of one byte each
        return array_bytes(arrays, dtype) + scale_bytes + self.out_features * self.embed_dim * self.bits / 8

    def host_bytes(self, shape: Shape) -> float:
        unpacked = self.out_features * self.embed_dim * (ITEM_BYTES["float64"] - self.bits / 8)  # codes are int64
        scales = 0 if self.mode == "affine" else prod(self.groups) * ITEM_BYTES["float64"]
        return super().host_bytes(shape) + unpacked + scales

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        (x,) = inputs
        codes = xp.reshape(w.codes, (*self.groups, self.group))
        if self.mode == "affine":
            weight = w.scales[..., None] * xp.astype(codes, x.dtype) + w.biases[..., None]
        else:
            values = xp.take(xp.asarray(E2M1, dtype=x.dtype), xp.reshape(codes, (-1,)), axis=0)
            weight = w.scales[..., None] * xp.reshape(values, codes.shape)
        weight = xp.reshape(weight, self.weight_shape)
        return x @ (weight.T if self.transpose else weight)

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
        embed_dim, out_features, group_size = self.embed_dim, self.out_features, self.group
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

        if self.mode != "affine" or self.bits not in (4, 8) or not self.transpose:
            raise Unsupported(
                "In torch, the variants that dequantise take bits=4 or 8 with mode=affine and transpose=true; "
                "operator.variant=portable takes any."
            )
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
        """A function that unpacks codes, the codes packed into `bits` bits each, and the scales and biases to apply to them.

        With 4 bits, a byte holds a code of the first half of a row in its high bits and one of the second half in its low bits.
        One operation on words of eight bytes takes them apart, since kernels that broadcast go by elements and not by bytes. It
        leaves the high codes where they are, sixteen times too large, so their scales are divided by sixteen. That is exact,
        unless a scale becomes subnormal.
        """
        codes = w.codes.to(torch.uint8)
        if self.bits == 8:
            codes = codes.view(*self.groups, self.group)
            return lambda stored: stored, codes, w.scales[..., None], w.biases[..., None]
        scales, biases, group_size = w.scales, w.biases, self.group
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
        if self.mode != "affine":
            raise Unsupported(f"torch has no kernel for mode={self.mode} that leaves x as it is; {BY_DEFINITION}.")
        if self.bits == 8:
            raise Unsupported(
                f"torch has no kernel for bits={self.bits} with groups: _weight_int8pack_mm takes one scale per row and no "
                f"offset; {DEQUANTISE}."
            )
        if self.bits != 4 or not self.transpose or self.group == 16:
            raise Unsupported(f"torch's kernel with groups takes bits=4 and transpose=true; {BY_DEFINITION}.")
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

        weight, told = self._mlx_stored(w), {"transpose": self.transpose, **self._mlx_format()}
        return lambda x: mx.quantized_matmul(x, *weight, **told)

    def mlx_in_float32(self, w: SimpleNamespace) -> Call:
        """The kernel with x, scales and biases in float32: on the CPU it sums in x's dtype, so that a row of 768 comes out 3 %
        wrong in bfloat16. On GPUs it sums in float32."""
        import mlx.core as mx

        wide = {name: values.astype(mx.float32) for name, values in vars(w).items() if name != "codes"}
        mx.eval(wide)
        multiply = self.mlx(SimpleNamespace(codes=w.codes, **wide))
        return lambda x: multiply(x.astype(mx.float32)).astype(x.dtype)

    def mlx_product(self, w: SimpleNamespace) -> Call:
        """By a plain product, with the weight dequantised in each call."""
        import mlx.core as mx

        weight, told = self._mlx_stored(w), {"dtype": w.scales.dtype, **self._mlx_format()}
        transpose = self.transpose

        def call(x: Any) -> Any:
            dequantised = mx.dequantize(*weight, **told)
            return x @ (dequantised.T if transpose else dequantised)

        return call

    def mlx_product_of_bytes(self, w: SimpleNamespace) -> Call:
        """The same for codes of one byte, dequantised in one kernel that mx.compile makes."""
        import mlx.core as mx

        if self.bits != 8:
            raise Unsupported("operator.variant=product_of_bytes takes codes of one byte; it can do bits=8.")
        weight, transpose = self._mlx_stored(w), self.transpose
        dequantize = mx.compile(self._mlx_from_bytes)
        return lambda x: x @ (dequantize(*weight).T if transpose else dequantize(*weight))

    def _mlx_from_bytes(self, packed: Any, scales: Any, biases: Any) -> Any:
        import mlx.core as mx

        codes = packed.view(mx.uint8).reshape(*self.groups, self.group)
        return (codes * scales[..., None] + biases[..., None]).reshape(self.weight_shape)

    def _mlx_format(self) -> dict[str, Any]:
        return {"group_size": self.group, "bits": self.bits, "mode": self.mode}

    def _mlx_stored(self, w: SimpleNamespace) -> list[Any]:
        """Codes in words, (rows, columns bits / 32) uint32, the first code lowest, with scales and biases, as `mx.quantize`
        makes them; scales of mxfp4 and nvfp4 are bytes."""
        import mlx.core as mx

        bits = (np.array(w.codes).astype(np.uint8)[..., None] >> np.arange(self.bits, dtype=np.uint8)) & 1
        words = np.packbits(bits.reshape(self.weight_shape[0], -1), axis=-1, bitorder="little").view(np.uint32)
        if self.mode == "affine":
            stored = [mx.array(words), w.scales, w.biases]
        else:
            scales = np.array(w.scales.astype(mx.float32)).astype(np.float64)
            numbers = FIRST_SCALE[self.mode] + np.searchsorted(SCALES[self.mode], scales)
            stored = [mx.array(words), mx.array(numbers.astype(np.uint8))]
        mx.eval(stored)
        return stored


def _in_pairs(torch: Any, codes: Any) -> Any:
    """Two neighbouring 4-bit codes of a row in each byte, the first one high, as torch's kernel for CUDA is given them."""
    return (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8).contiguous()
