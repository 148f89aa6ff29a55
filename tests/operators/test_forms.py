"""A framework's own forms of operators: taken where they stand alone and where they are a part, and built once."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from operator_cases import ARMS, OPERATORS, build, draw, error, framework, outputs, references, run, shapes, small

from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks.jax import FORMS
from mtbench.operators.base import Operator, Shape


class Forms(dict[str, Any]):
    """A framework's forms that notes for which operators it is asked."""

    def __init__(self, **forms: Any) -> None:
        super().__init__(forms)
        self.asked: list[str] = []

    def __contains__(self, key: object) -> bool:
        self.asked.append(str(key))
        return super().__contains__(key)


def other(forms: Forms) -> Any:
    """A library without forms in the operators' files, that computes as NumPy does."""
    return SimpleNamespace(library="other", xp=framework("numpy").xp, forms=forms, own_forms_only=None)


@pytest.mark.parametrize("name", [name for name in OPERATORS if not registry.load("operator", name).own_forms_only])
def test_a_definitions_parts_are_built_once(name: str) -> None:
    # `Operator.definition` is for that; to build them in `portable` would be timed with every call
    problem, own = small(name), Forms(another=None)
    inputs, weights = draw(problem, next(shapes(problem)))
    call = forms.build(other(own), problem, "native", weights)
    asked = list(own.asked)
    expected = references(problem, inputs, weights)
    assert error(outputs(call, "numpy", inputs, "float64"), expected) < 1e-12
    assert own.asked == asked


@pytest.mark.parametrize(("name", "library", "variant"), ARMS)
def test_no_operator_is_made_while_a_call_is_timed(
    name: str, library: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # parameters are checked whenever an operator is made, which takes longer than many a call
    problem = small(name)
    inputs, weights = draw(problem, next(shapes(problem, Shape(1, 2, 5), Shape(1, 2), Shape(1, 1, 5))), "float32")
    try:
        call = build(problem, library, variant, weights, "float32")
    except Unsupported as why:
        pytest.skip(str(why))
    outputs(call, library, inputs, "float32")  # the first call may make what stays
    made = []
    monkeypatch.setattr(Operator, "__post_init__", lambda self: made.append(type(self).__name__))
    outputs(call, library, inputs, "float32")
    assert made == []


@pytest.mark.parametrize("name", ["linear", "mha", "transformer_encoder_layer", "transformer_decoder_layer"])
def test_a_frameworks_form_is_taken_wherever_its_operator_is_a_part(name: str) -> None:
    called = []

    def linear(problem: Any, w: SimpleNamespace) -> Any:
        portable = partial(problem.portable, framework("numpy").xp, w)
        return lambda x: called.append(problem) or portable(x)

    problem = small(name)
    inputs, weights = draw(problem, next(shapes(problem)))
    native, portable = (forms.build(other(Forms(linear=linear)), problem, v, weights) for v in ("native", "portable"))
    run(native, "numpy", inputs, "float64")
    assert called
    called.clear()
    run(portable, "numpy", inputs, "float64")
    assert not called


IMPORTS = """
from dataclasses import dataclass
from typing import Any

from mtbench.operators.base import Operator
from mtbench.operators.linear import Linear
from mtbench.operators.softmax import Softmax


@dataclass(frozen=True)
"""
SAME = "class Mine(Softmax):\n    embed_dim: int = 64\n"
OTHER = SAME + "\n    def portable(self, xp: Any, w: Any, *inputs: Any) -> Any:\n        return 2 * inputs[0]\n"
ALIKE = OTHER.replace("Softmax", "Operator") + "\n".join(
    f"\n    def {method}(self, *_: Any) -> Any:\n        return {{}}" for method in ("inputs", "flops", "bytes_moved")
)


@pytest.mark.parametrize(
    ("file", "source", "told"),
    [
        ("heads.py", SAME, "softmax's"),
        ("relu.py", SAME, "softmax's"),  # the file's name is that of another operator of ours
        ("heads.py", OTHER, "its own"),
        ("softmax.py", OTHER, "its own"),
        ("softmax.py", ALIKE, "its own"),
        ("mine.py", ALIKE, "mine's"),  # a user's framework may know a user's operator
    ],
)
def test_a_users_operator_has_the_form_of_what_it_derives_from(
    file: str, source: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / file).write_text(IMPORTS + source)
    problem = registry.load("operator", Path(file).stem, str(tmp_path / "operator" / file))()
    own = Forms(**{name: partial(lambda name, *_: f"{name}'s", name) for name in ("softmax", "relu", "mine")})
    call = forms.build(other(own), problem, "native", SimpleNamespace())
    assert (call if isinstance(call, str) else "its own") == told


@pytest.mark.parametrize("name", [name for name in OPERATORS if name in FORMS])
def test_a_class_that_derives_from_an_operator_keeps_jaxs_form(name: str) -> None:
    operator = registry.load("operator", name)
    assert operator.own_form(FORMS) is FORMS[name]
    derived = type("Derived", (operator,), {"__module__": "mtbench_user.operator.mine"})
    assert derived.own_form(FORMS) is FORMS[name]
