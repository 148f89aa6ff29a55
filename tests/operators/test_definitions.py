"""The reference itself, in float64, against definitions that others wrote: torch's functions and modules, and loops."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from definitions import definition, table
from operator_cases import OPERATORS, default, draw, problems, references, shapes, small

from mtbench.catalogue import registry
from mtbench.operators.base import Shape


@pytest.fixture(autouse=True)
def plain_modules() -> Iterator[None]:
    """torch's modules as written in Python, without the fused layers that they call in inference."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_reference_is_what_others_compute(name: str) -> None:
    define = definition(name)
    checked = 0
    for problem in problems(name):
        if "layer" in name and getattr(problem, "head_dim", None) is not None:
            continue  # torch's layers have no such thing; mha holds it to a definition
        for shape in shapes(problem):
            inputs, weights = draw(problem, shape)
            expected = define(problem, vars(weights), *map(torch.from_numpy, inputs))
            leaves = expected if isinstance(expected, tuple) else (expected,)
            both = (references(problem, inputs, weights), [leaf.numpy() for leaf in leaves])
            for found, leaf in zip(*(problem.compared(each, inputs) for each in both), strict=True):
                np.testing.assert_allclose(found, leaf, rtol=1e-9, atol=1e-12)
            checked += 1
    assert checked


@pytest.mark.parametrize("name", [name for name in OPERATORS if registry.load("operator", name).independent_rows])
def test_rows_of_the_batch_are_independent(name: str) -> None:
    problem = small(name)
    inputs, weights = draw(problem, next(shape for shape in shapes(problem, Shape(3, 8), Shape(3, 1, 8))))
    whole = references(problem, inputs, weights)
    rows = references(problem, [values[1:2] for values in inputs], weights)
    for all_rows, row in zip(whole, rows, strict=True):
        np.testing.assert_allclose(all_rows[1:2], row, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPERATORS)
def test_outputs_are_of_unit_scale(name: str) -> None:
    # where tolerances are relative to the whole, a scale far from 1 overflows or drowns in low precision
    problem = default(name)
    low, high = table("SCALE").get(name, (0.1, 4))
    inputs, weights = draw(problem, next(shape for shape in shapes(problem, Shape(1, 16), Shape(1, 1, 16))))
    for out in references(problem, inputs, weights):
        assert low < np.sqrt(np.square(out).mean()) < high
