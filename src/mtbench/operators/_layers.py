"""What the layers share: the weights of a part, the residual, masks that the libraries lack, stock modules' weights.

The layers themselves are composed of the operators beside this file, so that a layer's maths is written once and each
library brings its own linear, norm and attention. Weights are named as in torch's `state_dict`: a part's weights carry
the part's name and a dot.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import Call, Dimensions, Host, Operator, draw_weights

T = TypeVar("T")
Part = TypeVar("Part", bound=Operator)

Build = Callable[[Any, SimpleNamespace], Call]
"""Makes the call of an operator that is part of a layer, from that part's weights, in one library."""


def in_torch(operator: Any, w: SimpleNamespace) -> Call:
    call: Call = operator.torch(w)
    return call


def in_torch_variant(variant: str) -> Build:
    """Parts in this variant where they have it, else in their native form."""
    return lambda operator, w: getattr(operator, f"torch_{variant}", operator.torch)(w)


def in_mlx(operator: Any, w: SimpleNamespace) -> Call:
    call: Call = operator.mlx(w)
    return call


def in_portable(xp: Any) -> Build:
    """Parts as their definitions say, or in the forms that the namespace itself brings (`xp.forms`, by operator)."""
    forms: Mapping[str, Build] = getattr(xp, "forms", {})

    def build(operator: Any, w: SimpleNamespace) -> Call:
        form: Build | None = operator.own_form(forms)
        return operator.definition(xp, w) if form is None else form(operator, w)

    return build


@dataclass(frozen=True)
class Layer(Operator, ABC):
    """An operator that is composed of others in the same way in every library: written once, as `layer`."""

    @abstractmethod
    def weight_shapes(self) -> dict[str, Dimensions]:
        """The weights of all parts, by their names in the whole."""

    @abstractmethod
    def layer(self, w: SimpleNamespace, build: Build) -> Call:
        """The call, composed of parts that `build` makes in one library."""

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        return draw_weights(rng, self.weight_shapes())

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return self.definition(xp, w)(*inputs)

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        return self.layer(w, in_portable(xp))

    def torch(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_torch)

    def mlx(self, w: SimpleNamespace) -> Call:
        return self.layer(w, in_mlx)


def sharing(whole: Operator, operator_class: type[Part], **others: Any) -> Part:
    """A part of the whole. It takes the parameters that the whole has under the same name, and `others`."""
    names = {parameter.name for parameter in fields(whole)}
    common = {p.name: getattr(whole, p.name) for p in fields(operator_class) if p.name in names}
    return operator_class(**(common | others))


def named(part: str, weights: Mapping[str, T]) -> dict[str, T]:
    """A part's weights under the names that they have in the whole."""
    return {f"{part}.{name}": value for name, value in weights.items()}


def part(w: SimpleNamespace, name: str) -> SimpleNamespace:
    """The weights of one part of the whole; the inverse of `named`."""
    prefix = f"{name}."
    return SimpleNamespace(
        **{key.removeprefix(prefix): value for key, value in vars(w).items() if key.startswith(prefix)}
    )


def head_size(embed_dim: int, num_heads: int, head_dim: int | None) -> int:
    """The width of one head: `head_dim` where it is given, else an equal share of `embed_dim`. Raises ConfigError."""
    if head_dim is not None:
        return head_dim
    if embed_dim % num_heads:
        divisors = [n for n in range(1, embed_dim + 1) if embed_dim % n == 0]
        near = sorted(sorted(divisors, key=lambda n: abs(n - num_heads))[:2])
        raise ConfigError(
            f"embed_dim={embed_dim} cannot be split into num_heads={num_heads} equal heads; "
            f"num_heads={' or '.join(map(str, near))} would do, or set head_dim."
        )
    return embed_dim // num_heads


def head_groups(num_heads: int, num_kv_heads: int | None) -> int:
    """How many query heads share a head of keys and values: one where `num_kv_heads` is not given. Raises ConfigError."""
    if num_kv_heads is None:
        return 1
    if num_heads % num_kv_heads:
        divisors = [n for n in range(1, num_heads + 1) if num_heads % n == 0]
        raise ConfigError(
            f"num_heads={num_heads} cannot share num_kv_heads={num_kv_heads} equally; "
            f"num_kv_heads={' or '.join(map(str, divisors))} would do."
        )
    return num_heads // num_kv_heads


def residual(norm_first: bool, norm: Call, block: Call) -> Call:
    """A block around which the input is added, normalised before the block or after the sum.

    Before: x + block(norm(x)); after: norm(x + block(x)). Source: figure 1 of Xiong et al. 2020,
    https://arxiv.org/abs/2002.04745. Further arguments go to the block as they are.
    """
    if norm_first:
        return lambda x, *others: x + block(norm(x), *others)
    return lambda x, *others: norm(x + block(x, *others))


def torch_causal_mask(seen: bool, window: int | None = None) -> Callable[[int, int, Any], Any]:
    """A function (queries, keys, device) -> boolean mask, aligned bottom-right. Its value is `seen` where a query sees a key.

    A mask is made once per shape, as a user would do. It is a constant to torch.compile, which otherwise would make it in every
    call. With a `window`, a query sees only the last `window` of its keys.
    """
    import torch

    @cache
    def make(queries: int, keys: int, device: Any) -> Any:
        last = keys - queries
        visible = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(last)
        if window is not None:
            visible = visible.triu(last - window + 1)
        return visible if seen else ~visible

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator,unused-ignore]
    def mask(queries: int, keys: int, device: Any) -> Any:
        return make(queries, keys, device)

    return mask  # type: ignore[no-any-return,unused-ignore]


def mlx_causal_mask(window: int | None = None) -> Callable[[int, int], Any]:
    """As `torch_causal_mask`, true where a query sees a key, for MLX; a constant to mx.compile too."""
    import mlx.core as mx

    @cache
    def mask(queries: int, keys: int) -> Any:
        last = keys - queries
        visible = np.tril(np.ones((queries, keys), dtype=bool), last)
        return mx.array(visible if window is None else np.triu(visible, last - window + 1))

    return mask


def load_torch(module: Any, w: SimpleNamespace) -> Call:
    """A torch module, made on the `meta` device, with these weights for its own, ready for inference."""
    module.load_state_dict(vars(w), assign=True)
    ready: Call = module.requires_grad_(False).eval()
    return ready


def load_mlx(module: Any, weights: Mapping[str, Any]) -> Call:
    """An MLX module with these weights for its own, ready for inference."""
    import mlx.core as mx

    module.load_weights(list(weights.items()))
    mx.eval(module.parameters())
    ready: Call = module.eval()
    return ready


MLX_LAYER_EPS = 1e-5
"""The eps of mlx.nn.LayerNorm, which MLX's transformer layers leave at its default."""


def refuse_mlx_layer(module: str, bias: bool, eps: float) -> None:
    """Raises Unsupported where MLX's stock transformer layers have another bias or eps; they take neither as a setting."""
    if bias:
        raise Unsupported(f"{module} has no bias in its attention; it can do operator.params.bias=false.")
    if eps != MLX_LAYER_EPS:
        raise Unsupported(f"{module} takes no eps; it can do operator.params.eps={MLX_LAYER_EPS}.")


def mlx_layer_weights(w: SimpleNamespace, names: Mapping[str, str]) -> dict[str, Any]:
    """Weights of the linears and norms of MLX's stock layers, under MLX's names (`names`: ours to MLX's).

    These layers always have biases, so the biases are zeros.
    """
    import mlx.core as mx

    weights: dict[str, Any] = {}
    for ours, theirs in names.items():
        weight = part(w, ours).weight
        weights |= {f"{theirs}.weight": weight, f"{theirs}.bias": mx.zeros(weight.shape[0], weight.dtype)}
    return weights
