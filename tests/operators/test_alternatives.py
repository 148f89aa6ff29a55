"""The other ways to write the operators, with which the forms are compared on a GPU, compute the same."""

from pathlib import Path

import pytest
import yaml
from operator_cases import draw, error, framework, outputs, references, shapes, small_parameters

from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.operators.base import Shape

FOLDER = Path(__file__).parents[1] / "alternatives"
FILES = sorted(FOLDER.glob("*.py"))
PARAMETERS = {"sampling": {"method": "top_k"}, "gather": {"axis": "embed"}, "sum": {"axis": "embed"}}
FOR_CUDA = {"flash", "cudnn", "efficient", "private_kernel"}


@pytest.mark.parametrize("library", ["torch", "mlx"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_alternative_agrees(file: Path, library: str) -> None:
    alternatives = registry.load("operator", file.stem, str(file))
    packaged = registry.load("operator", file.stem)
    problem = alternatives.from_params(small_parameters(packaged) | PARAMETERS.get(file.stem, {}))
    names = [name for name in vars(alternatives) if name.startswith(f"{library}_")]
    for name in names:
        variant = name.removeprefix(f"{library}_")
        if variant in FOR_CUDA:
            continue
        inputs, weights = draw(problem, next(shapes(problem, Shape(2, 10), Shape(2, 1, 10))), "float32")
        arrays = {key: framework(library).array(value, "float32") for key, value in vars(weights).items()}
        try:
            call = forms.build(framework(library), problem, variant, type(weights)(**arrays))
        except Unsupported:  # not with these parameters
            continue
        both = (outputs(call, library, inputs, "float32"), references(problem, inputs, weights))
        assert error(*(problem.compared(each, inputs) for each in both)) < 1e-5, name


def test_every_alternative_is_compared() -> None:
    cells = yaml.safe_load((FOLDER / "cells.yaml").read_text())
    assert {cell["operator"] for cell in cells} == {file.stem for file in FILES}
    for cell in cells:
        registry.load("operator", cell["operator"]).from_params(cell["params"]).check(Shape(**cell["shape"]))
