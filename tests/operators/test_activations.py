"""Activations and losses far from 0, where an exponential overflows in float16 or loses all that it is added to."""

from types import SimpleNamespace

import numpy as np
import pytest
from operator_cases import LIBRARIES, TOLERANCES, build, has, outputs, small
from scipy.special import erf, expit, log1p, logsumexp

from mtbench.errors import ConfigError
from mtbench.operators.base import Host

X = np.array([-80.0, -30, -12, -2, -0.5, 0, 0.5, 2, 12, 30, 80])
SLOPES = np.linspace(0.0, 1, len(X))
# what each is by its formula, in float64, in which none of these overflows
TRUTHS = {
    "gelu": X * (1 + erf(X / np.sqrt(2))) / 2,
    "silu": X * expit(X),
    "sigmoid": expit(X),
    "relu": np.maximum(X, 0),
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "prelu": np.where(X > 0, X, SLOPES * X),
    "selu": 1.0507009873554804934 * np.where(X > 0, X, 1.6732632423543772848 * (np.exp(X) - 1)),
    "softplus": log1p(np.exp(X)),
}
GELU_TANH = X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3))) / 2


def forms() -> list[tuple[str, str, str]]:
    return [
        (library, variant, dtype)
        for library in LIBRARIES
        for variant in ("native", "portable")
        for dtype in TOLERANCES
        if has(library, dtype) and not (library == "numpy" and variant == "native")
    ]


def check(name: str, form: tuple[str, str, str], inputs: list[Host], truth: Host, **params: object) -> None:
    library, variant, dtype = form
    size = "vocab_size" if name == "cross_entropy" else "embed_dim"
    problem = small(name, **({size: len(X)} | params))
    weights = SimpleNamespace(weight=SLOPES) if name == "prelu" else SimpleNamespace()
    with np.errstate(all="raise", under="ignore"):
        (out,) = outputs(build(problem, library, variant, weights, dtype), library, inputs, dtype)
    # each element within the tolerance of its own size, and of 1 where it is small, which a norm would not see
    error = np.abs(out - truth) / np.maximum(np.abs(truth), 1)
    assert error.max() < TOLERANCES[dtype], (out, truth)


@pytest.mark.parametrize("form", forms(), ids="-".join)
@pytest.mark.parametrize("name", TRUTHS)
def test_an_activation_is_right_far_from_0(name: str, form: tuple[str, str, str]) -> None:
    check(name, form, [X.reshape(1, 1, -1)], TRUTHS[name])
    if name == "gelu":
        check(name, form, [X.reshape(1, 1, -1)], GELU_TANH, approximate="tanh")


@pytest.mark.parametrize("form", forms(), ids="-".join)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_is_right_far_from_0(target: float, form: tuple[str, str, str]) -> None:
    truth = -np.log(expit(X if target else -X))
    check("binary_cross_entropy", form, [X.reshape(1, 1, -1), np.full((1, 1, len(X)), target)], truth)


@pytest.mark.parametrize("form", forms(), ids="-".join)
def test_cross_entropy_is_right_far_from_0(form: tuple[str, str, str]) -> None:
    logits = np.tile(X, (1, len(X), 1))
    truth = (logsumexp(X) - X)[None]
    check("cross_entropy", form, [logits, np.arange(len(X))[None]], truth)


def test_a_slope_above_1_is_refused_since_the_libraries_differ_there() -> None:
    with pytest.raises(ConfigError, match="negative_slope=2 does not fit; it must be at most 1"):
        small("leaky_relu", negative_slope=2)


@pytest.mark.parametrize(("embed_dim", "mlp_dim"), [(4096, 11008), (5120, 13824), (768, 2048)])
def test_a_gated_mlp_is_as_wide_as_llama_unless_told(embed_dim: int, mlp_dim: int) -> None:
    shapes = small("swiglu_mlp", embed_dim=embed_dim).weight_shapes()  # type: ignore[attr-defined]
    assert shapes["down_proj.weight"] == (embed_dim, mlp_dim)
