"""Mixture of experts: a router sends each token through a few of many gated MLPs."""

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators._activations import Elementwise
from mtbench.operators._layers import in_mlx, in_portable, in_torch, named
from mtbench.operators.base import (
    Call,
    Dimensions,
    Host,
    Operator,
    Shape,
    Size,
    array_bytes,
    draw_weights,
    random_weight,
)
from mtbench.operators.swiglu_mlp import SwigluMlp

ROUTER_SEED = 20180
"""The router's weights are the same in every run, since the inputs are made for them."""

WITHOUT = "operator.variant=batched does without"

LOWEST, HIGHEST, CEILING = 2.0, 3.0, 1.0
"""Bounds of the router's logits: those of a token's experts lie between the first two, all others below the last, so that no
dtype's rounding chooses another expert."""


@dataclass(frozen=True)
class MoeMlp(Operator):
    """out = sum over a token's experts e of p_e down_e(activation(gate_e(x)) * up_e(x)): the MLP of Qwen3-MoE and OLMoE.

    p = softmax(x gate^T) over all experts; a token's experts are the `experts_per_token` with the largest p, divided by their
    sum where `norm_topk_prob`. x: (batch, seq, embed) -> the same. gate.weight: (experts, embed); experts.gate_proj.weight and
    experts.up_proj.weight: (experts, mlp, embed), experts.down_proj.weight: (experts, embed, mlp). `mlp_dim` is the width
    of one expert; `activation` as in `swiglu_mlp`. The inputs choose all experts equally often, and by a margin that no dtype
    rounds away.

    torch: tokens sorted by expert and torch.nn.functional.grouped_mm; the variant `batched` gathers each token's weights, which
    suits few tokens, and `loop` goes from expert to expert. MLX: mx.gather_mm, as in mlx-lm; the variant `sorted` sorts the
    tokens by expert before, as mlx-lm does for many, and `batched` is as in torch. JAX: jax.lax.ragged_dot. The definition
    takes every token through every expert. Source: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; Qwen3:
    https://arxiv.org/abs/2505.09388.
    """

    embed_dim: Size = 768
    mlp_dim: Size = 256
    num_experts: Size = 8
    experts_per_token: Size = 2
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    norm_topk_prob: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts_per_token > self.num_experts:
            raise ConfigError(f"experts_per_token={self.experts_per_token} exceeds num_experts={self.num_experts}.")
        if self.num_experts > self.embed_dim:
            raise ConfigError(f"num_experts={self.num_experts} exceeds embed_dim={self.embed_dim}; give fewer experts.")

    @property
    def expert(self) -> SwigluMlp:
        return SwigluMlp(self.embed_dim, self.mlp_dim, self.activation)

    @property
    def act(self) -> Elementwise:
        return self.expert.act

    @cached_property
    def router(self) -> Host:
        return random_weight(np.random.default_rng(ROUTER_SEED), self.num_experts, self.embed_dim)

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        tokens = shape.batch_size * shape.seq_len
        x = rng.standard_normal((tokens, self.embed_dim))
        logits = x @ self.router.T
        wanted = np.minimum(logits, CEILING)
        np.put_along_axis(
            wanted, self._chosen(rng, tokens), rng.uniform(LOWEST, HIGHEST, (tokens, self.experts_per_token)), 1
        )
        x += (wanted - logits) @ np.linalg.pinv(self.router).T  # the least change that makes the logits the wanted ones
        return {"x": x.reshape(shape.batch_size, shape.seq_len, self.embed_dim)}

    def _chosen(self, rng: np.random.Generator, tokens: int) -> Host:
        """Experts by token: each token takes neighbours on a circle of experts, in turn, so that all are chosen equally
        often."""
        starts = self.experts_per_token * rng.permutation(tokens)
        circle = rng.permutation(self.num_experts)
        return np.asarray(circle[(starts[:, None] + np.arange(self.experts_per_token)) % self.num_experts])

    def expert_shapes(self, experts: int) -> dict[str, Dimensions]:
        return {name: (experts, *size) for name, size in self.expert.weight_shapes().items()}

    def weight_shapes(self) -> dict[str, Dimensions]:
        return {
            "gate.weight": (self.num_experts, self.embed_dim),
            **named("experts", self.expert_shapes(self.num_experts)),
        }

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes()) | {"gate.weight": self.router}

    def flops(self, shape: Shape) -> float:
        # the products alone: the router's, and those of each token's experts
        router = 2.0 * shape.batch_size * shape.seq_len * self.embed_dim * self.num_experts
        return router + self.experts_per_token * self.expert.flops(shape)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        read = min(self.num_experts, shape.batch_size * shape.seq_len * self.experts_per_token)
        router = {"gate.weight": (self.num_experts, self.embed_dim)}
        return array_bytes({"x": x, "out": x, **router, **self.expert_shapes(read)}, dtype)

    def host_bytes(self, shape: Shape) -> float:
        x = (shape.batch_size, shape.seq_len, self.embed_dim)
        return array_bytes({"x": x, "out": x, **self.weight_shapes()}, "float64")

    def reference_bytes(self, shape: Shape) -> float:
        inside = (shape.batch_size, shape.seq_len, self.expert.hidden_dim)
        return 3 * array_bytes({"inside": inside}, "float64")

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        gate, gates, ups, downs = self._stored(w)
        act, first = in_portable(xp)(self.act, SimpleNamespace()), self.num_experts - self.experts_per_token

        def call(x: Any) -> Any:
            e = xp.exp(x @ gate.T)  # logits are small, by construction
            p = e / xp.sum(e, axis=-1, keepdims=True)
            least = xp.sort(p, axis=-1)[..., first][..., None]
            p = xp.where(p >= least, p, 0 * p)
            if self.norm_topk_prob:
                p = p / xp.sum(p, axis=-1, keepdims=True)
            out = 0 * x
            for expert in range(self.num_experts):
                inside = act(x @ gates[expert].T) * (x @ ups[expert].T)
                out = out + p[..., expert][..., None] * (inside @ downs[expert].T)
            return out

        return call

    def _stored(self, w: SimpleNamespace) -> tuple[Any, Any, Any, Any]:
        """The router's weight, and those of all experts."""
        stored = vars(w)
        return stored["gate.weight"], *(
            stored[f"experts.{name}.weight"] for name in ("gate_proj", "up_proj", "down_proj")
        )

    def _torch_route(self, gate: Any) -> Call:
        """x: (tokens, embed) -> p and indices of each token's experts, (tokens, experts_per_token)."""
        import torch
        from torch.nn.functional import linear

        count, normalised = self.experts_per_token, self.norm_topk_prob

        def route(x: Any) -> tuple[Any, Any]:
            p, experts = torch.topk(torch.softmax(linear(x, gate), -1, dtype=torch.float32), count)
            if normalised:
                p = p / p.sum(-1, keepdim=True)
            return p.to(x.dtype), experts

        return route

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        gate, gates, ups, downs = self._stored(w)
        gates, ups, downs = (each.mT for each in (gates, ups, downs))
        grouped_mm = getattr(torch.nn.functional, "grouped_mm", None)
        if grouped_mm is None:
            raise Unsupported(f"torch {torch.__version__} has no grouped_mm; {WITHOUT}.")
        all_rows = torch.ones(self.num_experts, dtype=torch.int32, device=gate.device)
        try:  # it does not take every device, dtype and width
            for weights in (gates, downs):
                grouped_mm(torch.zeros_like(weights[:1, :, 0]), weights, offs=all_rows)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise Unsupported(f"torch's grouped_mm: {str(error).splitlines()[0]}; {WITHOUT}.") from None
        route, act = self._torch_route(gate), in_torch(self.act, SimpleNamespace())
        count, numbers = self.experts_per_token, torch.arange(self.num_experts, device=gate.device)

        def call(x: Any) -> Any:
            rows = x.flatten(0, 1)
            p, experts = route(rows)
            experts, order = torch.sort(experts.flatten())
            ends = torch.searchsorted(experts, numbers, right=True, out_int32=True)
            token = order // count
            seen = rows[token]
            inside = act(grouped_mm(seen, gates, offs=ends)) * grouped_mm(seen, ups, offs=ends)
            out = grouped_mm(inside, downs, offs=ends) * p.flatten()[order, None]
            return torch.zeros_like(rows).index_add_(0, token, out).view(x.shape)

        if gate.dtype != torch.bfloat16:
            vars(call)["compiled"] = _refuse_to_compile
        return call

    def torch_batched(self, w: SimpleNamespace) -> Call:
        """A product for each token and expert, of weights that are gathered."""
        import torch

        gate, gates, ups, downs = self._stored(w)
        route, act = self._torch_route(gate), in_torch(self.act, SimpleNamespace())
        count = self.experts_per_token

        def call(x: Any) -> Any:
            rows = x.flatten(0, 1)
            p, experts = route(rows)
            experts = experts.flatten()
            seen = rows.repeat_interleave(count, 0)[..., None]
            inside = act(torch.bmm(gates[experts], seen)) * torch.bmm(ups[experts], seen)
            out = torch.bmm(downs[experts], inside).view(-1, count, rows.shape[1])
            return (out * p[..., None]).sum(1).view(x.shape)

        return call

    def torch_loop(self, w: SimpleNamespace) -> Call:
        """Expert by expert, with the tokens that chose it, as transformers did before it had grouped products."""
        import torch
        from torch.nn.functional import linear

        gate, gates, ups, downs = self._stored(w)
        route, act, number = self._torch_route(gate), in_torch(self.act, SimpleNamespace()), self.num_experts

        def call(x: Any) -> Any:
            rows = x.flatten(0, 1)
            p, experts = route(rows)
            out = torch.zeros_like(rows)
            for expert in range(number):
                token, place = torch.where(experts == expert)
                seen = rows[token]
                inside = act(linear(seen, gates[expert])) * linear(seen, ups[expert])
                out.index_add_(0, token, linear(inside, downs[expert]) * p[token, place, None])
            return out.view(x.shape)

        return call

    def mlx(self, w: SimpleNamespace) -> Call:
        return self._mlx(w, in_order=False)

    def mlx_batched(self, w: SimpleNamespace) -> Call:
        """A product for each token and expert, of weights that are gathered."""
        gates, ups, downs = (each.swapaxes(-1, -2) for each in self._stored(w)[1:])

        def through(x: Any, experts: Any, gating: Call) -> Any:
            return gating(x @ gates[experts], x @ ups[experts]) @ downs[experts]

        return self._mlx_routed(w, through)

    def mlx_sorted(self, w: SimpleNamespace) -> Call:
        """Tokens sorted by expert, so that each expert's weights are read once."""
        return self._mlx(w, in_order=True)

    def _mlx(self, w: SimpleNamespace, in_order: bool) -> Call:
        import mlx.core as mx

        gates, ups, downs = (each.swapaxes(-1, -2) for each in self._stored(w)[1:])
        count = self.experts_per_token
        try:
            mx.eval(mx.gather_mm(mx.zeros((1, 1, self.embed_dim), gates.dtype), gates, rhs_indices=mx.array([0])))
        except RuntimeError as error:
            raise Unsupported(f"MLX's gather_mm: {str(error).splitlines()[0]}; {WITHOUT}.") from None

        def gathered(x: Any, experts: Any, gating: Call) -> Any:
            def product(x: Any, weights: Any) -> Any:
                return mx.gather_mm(x, weights, rhs_indices=experts, sorted_indices=in_order)

            return product(gating(product(x, gates), product(x, ups)), downs)

        def gathered_in_order(x: Any, experts: Any, gating: Call) -> Any:
            flat = experts.flatten()
            order = mx.argsort(flat)
            rows = x.reshape(-1, 1, x.shape[-1])[order // count]
            out = gathered(rows, flat[order], gating)[mx.argsort(order)]
            return out.reshape(*experts.shape, 1, -1)

        return self._mlx_routed(w, gathered_in_order if in_order else gathered)

    def _mlx_routed(self, w: SimpleNamespace, through: Call) -> Call:
        """The call, from through(x, experts, gating) -> the experts' outputs, (batch, seq, experts_per_token, 1, embed), of x,
        (batch, seq, 1, 1, embed), and each token's experts, (batch, seq, experts_per_token)."""
        import mlx.core as mx

        gate, act = self._stored(w)[0], in_mlx(self.act, SimpleNamespace())
        first = self.num_experts - self.experts_per_token
        gating = mx.compile(lambda gated, passed: act(gated) * passed, shapeless=True)

        def call(x: Any) -> Any:
            p = mx.softmax(x @ gate.T, axis=-1, precise=True)
            experts = mx.argpartition(p, kth=first, axis=-1)[..., first:]
            p = mx.take_along_axis(p, experts, axis=-1)
            if self.norm_topk_prob:
                p = p / p.sum(axis=-1, keepdims=True)
            out = through(mx.expand_dims(x, (-2, -3)), experts, gating).squeeze(-2)
            return (out * p[..., None]).sum(axis=-2)

        return call


def _refuse_to_compile(compiler: Call) -> Call:
    """torch.compile derives shapes by a function that takes bfloat16 only, although the product itself takes other dtypes."""
    raise Unsupported(f"torch.compile knows grouped_mm in bfloat16 only; {WITHOUT}.")
