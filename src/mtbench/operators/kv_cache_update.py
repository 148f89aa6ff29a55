"""Writing new keys and values into a cache."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators.base import Call, Dimensions, Host, Operator, Shape, Size, array_bytes


@dataclass(frozen=True)
class KvCacheUpdate(Operator):
    """cache_k[:, :, kv_len - seq :] = k; cache_v likewise; both caches are returned.

    cache_k, cache_v: (batch, kv_heads, kv_len, head_dim), made beforehand; k, v: (batch, kv_heads, seq, head_dim): the step
    of a decoder that keeps its past keys and values, here as the last positions of the cache. `shape.kv_len` is 2 seq where
    it is not given.

    torch writes in place, MLX by slice assignment, as mlx-lm does (mlx_lm/models/cache.py): MLX puts the new array in the old
    one's place and reuses its memory, unless something else still holds that memory. In two cases something does, and the whole
    cache is copied: in a compiled function, which returns other arrays while the caller still holds the old ones; and, as seen
    on MLX's CPU, in an update that is queued while the one before is under way, as in throughput. `portable` always copies.
    Only the new keys and values count as moved.
    """

    num_kv_heads: Size = 4
    head_dim: Size = 64

    uses_kv_len = True
    updates_inputs = True
    exact = True

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if self.cache_len(shape) <= shape.seq_len:  # MLX would return k and v as the caches, and write nothing
            raise ConfigError(
                f"a cache of shape.kv_len={shape.kv_len} keeps nothing beside shape.seq_len={shape.seq_len} new positions; "
                "give kv_len > seq_len."
            )

    def cache_len(self, shape: Shape) -> int:
        return 2 * shape.seq_len if shape.kv_len is None else shape.kv_len

    def positions(self, shape: Shape, count: int) -> Dimensions:
        return (shape.batch_size, self.num_kv_heads, count, self.head_dim)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        cache, new = self.cache_len(shape), shape.seq_len
        lengths = {"cache_k": cache, "cache_v": cache, "k": new, "v": new}
        return {name: rng.standard_normal(self.positions(shape, length)) for name, length in lengths.items()}

    def flops(self, shape: Shape) -> float:
        return 0.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        new = self.positions(shape, shape.seq_len)
        return array_bytes({"k": new, "v": new, "written_k": new, "written_v": new}, dtype)

    def host_bytes(self, shape: Shape) -> float:
        cache, new = (self.positions(shape, count) for count in (self.cache_len(shape), shape.seq_len))
        return array_bytes({"cache_k": cache, "cache_v": cache, "k": new, "v": new}, "float64")

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        cache_k, cache_v, k, v = inputs
        start = cache_k.shape[2] - k.shape[2]
        return xp.concat([cache_k[:, :, :start], k], axis=2), xp.concat([cache_v[:, :, :start], v], axis=2)

    def torch(self, w: SimpleNamespace) -> Call:
        return _assign

    def mlx(self, w: SimpleNamespace) -> Call:
        return _assign


def _assign(cache_k: Any, cache_v: Any, k: Any, v: Any) -> tuple[Any, Any]:
    start = cache_k.shape[2] - k.shape[2]
    cache_k[:, :, start:] = k
    cache_v[:, :, start:] = v
    return cache_k, cache_v
