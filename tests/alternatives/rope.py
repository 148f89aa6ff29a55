"""Other ways to write a rotary embedding."""

from types import SimpleNamespace
from typing import Any

from mtbench.catalogue import registry
from mtbench.operators.base import Call


class Alternatives(registry.load("operator", "rope")):
    torch_complex = registry.load("operator", "rope").torch_complex

    def torch_halves(self, w: SimpleNamespace) -> Call:
        import torch

        half = self.head_dim // 2
        positions = torch.arange(self.max_seq_len, dtype=torch.float64)[:, None]
        angles = positions * self.theta ** (torch.arange(half, dtype=torch.float64) * (-2 / self.head_dim))
        tables: dict[Any, Any] = {}

        def call(x: Any) -> Any:
            key = (x.dtype, x.device)
            if key not in tables:
                tables[key] = [values.to(x.dtype).to(x.device) for values in (angles.cos(), angles.sin())]
            cos, sin = (values[: x.shape[2]] for values in tables[key])
            a, b = x[..., :half], x[..., half:]
            return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

        return call

    def torch_rotate_half(self, w: SimpleNamespace) -> Call:
        import torch

        half = self.head_dim // 2
        positions = torch.arange(self.max_seq_len, dtype=torch.float64)[:, None]
        angles = positions * self.theta ** (torch.arange(half, dtype=torch.float64) * (-2 / self.head_dim))
        tables: dict[Any, Any] = {}

        def call(x: Any) -> Any:
            key = (x.dtype, x.device)
            if key not in tables:
                tables[key] = [torch.cat((v, v), -1).to(x.dtype).to(x.device) for v in (angles.cos(), angles.sin())]
            cos, sin = (values[: x.shape[2]] for values in tables[key])
            return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin

        return call
