"""A causal operator does not see the future; the same operator without its mask does."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from operator_cases import ARMS, OPERATORS, build, draw, error, reference, run, shapes, small

from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.operators.base import Host, Operator, Shape

SEEN_WHOLE = {
    "transformer_decoder_layer": {"memory"},
    "gqa": {"cache_k", "cache_v"},
    "llama_block": {"cache_k", "cache_v"},
}
"""Inputs that a causal operator may see all of."""

CAUSAL = [name for name in OPERATORS if "causal" in {field.name for field in fields(registry.load("operator", name))}]


def with_another_future(name: str, problem: Operator, shape: Shape, position: int) -> list[Host]:
    """The inputs with new values after a query position, which keys aligned bottom-right see from their own end."""
    other = np.random.default_rng(1)
    changed = []
    for input_name, values in problem.inputs(np.random.default_rng(0), shape).items():
        values = values.copy()
        if input_name not in SEEN_WHOLE.get(name, set()):
            first_hidden = position + 1 + values.shape[-2] - shape.seq_len
            values[..., first_hidden:, :] += other.standard_normal(values[..., first_hidden:, :].shape)
        changed.append(values)
    return changed


def effect_of_the_future(name: str, problem: Operator, shape: Shape, position: int, call: Any) -> float:
    """The largest change of an output up to a position when the inputs after it change."""
    before = call(draw(problem, shape)[0])
    after = call(with_another_future(name, problem, shape, position))
    return float(np.abs(before - after)[..., : position + 1, :].max())


def problem_of(name: str, causal: bool, **params: Any) -> Operator:
    return small(name, causal=causal, **params)


def masked_shapes(problem: Operator) -> list[Shape]:
    return [shape for shape in shapes(problem) if shape.seq_len > 1]


def test_every_attention_has_a_mask_to_test() -> None:
    assert {"sdpa", "mha", "gqa", "transformer_encoder_layer", "transformer_decoder_layer", "llama_block"} <= set(
        CAUSAL
    )


@pytest.mark.parametrize("name", CAUSAL)
def test_the_reference_does_not_see_the_future(name: str) -> None:
    for causal in (True, False):
        problem = problem_of(name, causal)
        _, weights = draw(problem, Shape(1, 1))
        for shape in masked_shapes(replace(problem, causal=True)):
            for position in (0, shape.seq_len - 2):
                effect = effect_of_the_future(
                    name, problem, shape, position, lambda x, p=problem, w=weights: reference(p, x, w)
                )
                assert (effect == 0) if causal else (effect > 1e-3), (shape, position)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "library", "variant"), [arm for arm in ARMS if arm[0] in CAUSAL])
def test_no_form_sees_the_future(name: str, library: str, variant: str, bias: bool) -> None:
    for causal in (True, False):
        has_bias = "bias" in {field.name for field in fields(registry.load("operator", name))}
        problem = problem_of(name, causal, **({"bias": bias} if has_bias else {}))
        _, weights = draw(problem, Shape(1, 1))
        try:
            form = build(problem, library, variant, weights, "float32")
        except Unsupported as why:
            pytest.skip(str(why))
        for shape in masked_shapes(replace(problem, causal=True)):
            for position in (0, shape.seq_len - 2):
                effect = effect_of_the_future(
                    name, problem, shape, position, lambda x, f=form: run(f, library, x, "float32")
                )
                assert (effect < 1e-6) if causal else (effect > 1e-3), (shape, position)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_forgotten_mask_is_beyond_every_tolerance(name: str) -> None:
    # A layer adds attention, which averages over many keys, to its input: the error must still be seen in bfloat16.
    problem = problem_of(name, True)
    inputs, weights = draw(problem, Shape(1, 512))
    forgotten = reference(replace(problem, causal=False), inputs, weights)
    assert error(forgotten, reference(problem, inputs, weights)) > 2 * 2e-2
