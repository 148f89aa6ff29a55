"""A framework's own forms of operators: taken where they stand alone and where they are a part, and built once."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from operator_cases import draw, error, framework, reference, run, shapes, small

from mtbench.bench import worker

COMPOSED = ["mha", "transformer_encoder_layer", "transformer_decoder_layer"]


@pytest.mark.parametrize("name", ["linear", *COMPOSED])
def test_a_frameworks_forms_are_built_once_and_taken_everywhere(name: str) -> None:
    numpy = framework("numpy")
    built = []

    def linear(problem: Any, w: SimpleNamespace) -> Any:
        built.append(problem)
        return partial(problem.portable, numpy.xp, w)

    own = SimpleNamespace(library="other", xp=numpy.xp, forms={"linear": linear})
    problem = small(name)
    inputs, weights = draw(problem, next(shapes(problem)))
    call = worker.build(own, problem, "native", weights)  # type: ignore[arg-type]
    before = len(built)
    assert before
    assert error(run(call, "numpy", inputs, "float64"), reference(problem, inputs, weights)) < 1e-12
    assert len(built) == before
    worker.build(own, problem, "portable", weights)  # type: ignore[arg-type]
    assert len(built) == before
