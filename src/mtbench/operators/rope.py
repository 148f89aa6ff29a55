"""Rotary position embedding."""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import INDEX_BYTES, Call, Host, Operator, Positive, Shape, Size, array_bytes


@dataclass(frozen=True)
class RotaryEmbedding(Operator):
    """Each pair of features (a, b) turned by the angle t = p theta^(-2 i / head_dim), at position p, for pair i:
    (a cos t - b sin t, b cos t + a sin t).

    x: (batch, heads, seq, head_dim) -> the same. The pairs: feature i with i + head_dim / 2, as in GPT-NeoX, LLaMA and
    Hugging Face's transformers; `interleaved`: feature 2 i with 2 i + 1, as in the paper and GPT-J. Positions count from 0,
    or, where `shape.kv_len` is given, are the last ones of kv_len: then a second input `offset`, (batch,) indices, has each
    row's first position, kv_len - seq. Within a layer, which knows the offset from the shape of its cache, it may be a Python
    integer.

    torch has no fused form. Cosines and sines are made once, in x's dtype, and for a given offset taken from a table of
    `max_seq_len` positions; the variant `complex` turns pairs that lie side by side as complex numbers, as LLaMA's own code
    does. MLX: mx.fast.rope. Source: Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """

    num_heads: Size = 12
    head_dim: Size = 64
    theta: Positive = 10000.0
    interleaved: bool = False
    max_seq_len: Size = 32768

    uses_kv_len = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim % 2:
            raise ConfigError(f"head_dim={self.head_dim} cannot be split into pairs of features; it must be even.")

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if shape.key_len < shape.seq_len:
            raise ConfigError(
                f"shape.kv_len={shape.key_len} has no room for shape.seq_len={shape.seq_len} positions; give kv_len >= seq_len."
            )
        if shape.key_len > self.max_seq_len:
            raise ConfigError(
                f"position {shape.key_len - 1} is beyond max_seq_len={self.max_seq_len}; give max_seq_len={shape.key_len}."
            )

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        inputs: dict[str, Host] = {
            "x": rng.standard_normal((shape.batch_size, self.num_heads, shape.seq_len, self.head_dim))
        }
        if shape.kv_len is not None:
            inputs["offset"] = np.full(shape.batch_size, shape.kv_len - shape.seq_len, dtype=np.int64)
        return inputs

    def flops(self, shape: Shape) -> float:
        # two products and a sum per element; the angles are common to all heads
        return 3.0 * shape.batch_size * self.num_heads * shape.seq_len * self.head_dim

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, self.num_heads, shape.seq_len, self.head_dim)
        offset = 0 if shape.kv_len is None else INDEX_BYTES * shape.batch_size
        return array_bytes({"x": x, "out": x}, dtype) + offset

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        x, *rest = inputs
        offset = rest[0] if rest else 0
        wide = xp.float64 if x.dtype == xp.float64 else xp.float32  # half precision cannot hold all positions
        positions = xp.arange(x.shape[2], dtype=wide)[:, None]
        positions = positions + (offset if isinstance(offset, int) else xp.reshape(offset, (-1, 1, 1, 1)))
        angles = positions * self.theta ** (xp.arange(self.head_dim // 2, dtype=wide) * (-2 / self.head_dim))
        cos, sin = (xp.asarray(values, dtype=x.dtype) for values in (xp.cos(angles), xp.sin(angles)))
        if self.interleaved:
            a, b = x[..., 0::2], x[..., 1::2]
            return xp.reshape(xp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1), x.shape)
        a, b = x[..., : self.head_dim // 2], x[..., self.head_dim // 2 :]
        return xp.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def _torch_rotation(self) -> Call:
        """A function rotation(x, offset, dtype) -> for x's positions cosines and signed sines, (2, positions, head_dim), or in
        a complex dtype both as one number, (positions, pairs). They are made once for each offset that is a number."""
        import torch

        half = self.head_dim // 2

        @cache
        def make(first: int, count: int, dtype: Any, device: Any) -> Any:
            positions = torch.arange(first, first + count, dtype=torch.float64)[:, None]
            angles = positions * self.theta ** (torch.arange(half, dtype=torch.float64) * (-2 / self.head_dim))
            cos, sin = angles.cos(), angles.sin()
            if dtype.is_complex:
                return torch.complex(cos, sin).to(dtype).to(device)
            if self.interleaved:
                pair = (cos.repeat_interleave(2, dim=-1), torch.stack((-sin, sin), dim=-1).flatten(-2))
            else:
                pair = (torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))
            return torch.stack(pair).to(dtype).to(device)  # in this order, since MPS has no float64

        @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator,unused-ignore]
        def table(first: int, count: int, dtype: Any, device: Any) -> Any:
            """(cosines and signed sines, positions, head_dim), or the two as one complex number, (positions, pairs)."""
            return make(first, count, dtype, device)

        def rotation(x: Any, offset: Any, dtype: Any) -> Any:
            count = x.shape[2]
            if isinstance(offset, int):
                return table(offset, count, dtype, x.device)
            positions = offset[:, None]
            if count > 1:
                positions = positions + torch.arange(count, device=x.device)
            return table(0, self.max_seq_len, dtype, x.device)[..., positions, :].unsqueeze(-3)

        return rotation

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        half, rotation = self.head_dim // 2, self._torch_rotation()

        def call(x: Any, offset: Any = 0) -> Any:
            if not self.interleaved:
                cos, sin = rotation(x, offset, x.dtype)
                turned = x * cos
                turned[..., :half].addcmul_(x[..., half:], sin[..., :half])
                turned[..., half:].addcmul_(x[..., :half], sin[..., half:])
                return turned
            a, b = x.unflatten(-1, (half, 2)).unbind(-1)
            swapped = torch.stack((b, a), dim=-1).flatten(-2)
            cos, sin = rotation(x, offset, x.dtype)
            return torch.addcmul(x * cos, swapped, sin)

        return call

    def torch_complex(self, w: SimpleNamespace) -> Call:
        """Pairs as complex numbers in float32: one product where real numbers take several kernels."""
        import torch

        if not self.interleaved:
            raise Unsupported("operator.variant=complex turns pairs that lie side by side; it can do interleaved=true.")
        rotation = self._torch_rotation()

        def call(x: Any, offset: Any = 0) -> Any:
            pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
            return torch.view_as_real(pairs * rotation(x, offset, torch.complex64)).flatten(-2).type_as(x)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        def call(x: Any, offset: Any = 0) -> Any:
            return mx.fast.rope(
                x, self.head_dim, traditional=self.interleaved, base=self.theta, scale=1.0, offset=offset
            )

        return call
