"""What the operators' tests run over, found in the registry and in each operator's fields, so that a new one is covered."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from types import NoneType, SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from definitions import table
from omegaconf import OmegaConf

from mtbench import paths
from mtbench.bench.worker import correctness, forms
from mtbench.catalogue import registry, support
from mtbench.errors import ConfigError, Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.launch.config import limits_of
from mtbench.operators.base import Host, Operator, Positive, Shape, Size
from mtbench.plan.accuracy import Errors, Limits
from mtbench.reference import array_namespace, round_to

OPERATORS = registry.names("operator")
DEVICE = os.environ.get("MTBENCH_TEST_DEVICE", "cpu")  # pytest's --device
ON_GPU = DEVICE == "gpu"
known_of_the_cpu = pytest.mark.skipif(ON_GPU, reason="says what holds on a CPU")

HOST_ONLY = ("numpy",)
"""Libraries that run on the CPU whatever is asked for, as the others' measure."""
ONE_THREAD = ("torch",)
"""Libraries that are told to use one thread: where tests or other programs run beside them, a second one only waits in
barriers, which took two thirds of the processor time of small operators. Small kernels are computed by one thread anyway."""

TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}
SMALL = {"embed_dim": 32, "num_heads": 4, "num_kv_heads": 2, "vocab_size": 50}
SHAPES = (Shape(2, 10), Shape(2, 6, 16), Shape(2, 1, 9), Shape(2, 8, 5))


@cache
def asked(name: str) -> Framework | str:
    """A library on the device that the tests run on, or why it cannot be there."""
    settings = Settings("cpu" if name in HOST_ONLY else DEVICE, threads=1 if name in ONE_THREAD else None)
    try:
        made: Framework = registry.load("framework", name)(settings)
    except Unsupported as reason:
        return str(reason)
    return made


def framework(name: str) -> Framework:
    """The library, where it is possible on this device; else the test that asks is skipped."""
    made = asked(name)
    if isinstance(made, str):
        pytest.skip(made)
    return made


def libraries() -> tuple[str, ...]:
    """Those that can run on the device, numpy among them on the CPU alone. Without any on a GPU, the run is a mistake."""
    names = ("torch", "mlx", "numpy", *(["jax"] if find_spec("jax") else []))
    if DEVICE == "cpu":
        return names
    able = tuple(name for name in names if name not in HOST_ONLY and not isinstance(asked(name), str))
    if not able:
        reasons = "; ".join(str(asked(name)) for name in names if name not in HOST_ONLY)
        raise pytest.UsageError(f"--device {DEVICE}: no library can run there. {reasons}")
    return able


LIBRARIES = libraries()


@cache
def limits(name: str, dtype: str) -> Limits:
    """What an operator's answer may be off, as the YAML says."""
    conf = paths.conf()
    kind = OmegaConf.load(conf / "dtype" / f"{dtype}.yaml")  # as Hydra reads: 1e-5 is a number, which YAML 1.1 has not
    own = OmegaConf.load(conf / "operator" / f"{name}.yaml")
    settings = {"operator": {"tolerance": {}, "norm_tolerance": {}}, "dtype": {"norm_tolerance": None}}
    return limits_of(OmegaConf.merge(settings, {"operator": own, "dtype": kind, "matmul_precision": "highest"}))


def errors(
    problem: Operator, inputs: list[Host], out: list[Host], expected: list[Host], dtype: str, factor: float = 1
) -> Errors:
    """The three errors, as a worker judges them. Raises Mismatch."""
    limit = replace(limits(problem.key(), dtype), exact=problem.exact).times(factor)
    correctness.check_form(out, [each.shape for each in expected])
    out, expected = (problem.compared(list(each), inputs) for each in (out, expected))
    return correctness.compare(problem, dtype, limit, out, expected)


def small_parameters(operator_class: type[Operator]) -> dict[str, Any]:
    names = {field.name for field in fields(operator_class)}
    base = {name: size for name, size in SMALL.items() if name in names}
    own: dict[str, Any] = table("SMALL").get(operator_class.key(), {})
    return base | own


def small(name: str, **params: Any) -> Operator:
    """An operator at sizes that are fit for tests."""
    operator_class = registry.load("operator", name)
    problem: Operator = operator_class.from_params(small_parameters(operator_class) | params)
    return problem


def default(name: str) -> Operator:
    """An operator at its defaults; a small one where it has none to stand alone with."""
    problem: Operator = small(name) if name == "causal_lm" else registry.load("operator", name)()
    return problem


def parameters(operator_class: type[Operator], changes: int = 1) -> list[dict[str, Any]]:
    """A small operator's parameters, and the same with up to so many of them changed, each to all that it can be."""
    apart = table("APART").get(operator_class.key(), ())
    names = [field.name for field in fields(operator_class) if field.name not in apart]
    base = small_parameters(operator_class)
    values = {field.name: field.default for field in fields(operator_class)} | base
    hints = get_type_hints(operator_class, include_extras=True)
    single = [{name: value} for name in names for value in _alternatives(hints[name], values[name])]
    changed = [
        first | second for first, second in combinations(single, 2) if changes > 1 and first.keys() != second.keys()
    ]
    return [base, *(base | change for change in single + changed)]


def _alternatives(hint: Any, value: Any) -> list[Any]:
    if hint is bool:
        return [not value]
    if NoneType in get_args(hint):
        literal = next((each for each in get_args(hint) if get_origin(each) is Literal), None)
        if literal is not None:
            return [name for name in get_args(literal) if name != value]
    if get_origin(hint) is Literal:
        return [name for name in get_args(hint) if name != value]
    if hint == Positive:
        return [0.1]
    if hint == Size | None and NoneType in get_args(hint):
        return [12] if value is None else [None, 12]
    return []


def shapes(problem: Operator, *wanted: Shape) -> Iterator[Shape]:
    """Those of the wanted shapes that go with an operator; of all the small ones, where none is named."""
    for shape in wanted or (*SHAPES, *table("SHAPES").get(problem.key(), ())):
        try:
            problem.check(shape)
        except ConfigError:
            continue
        yield shape


def variants(operator_class: type[Operator], library: str) -> list[str]:
    """All variants that an operator has in a library."""
    if operator_class.own_forms_only:
        return ["native"] if hasattr(operator_class, library) else []
    return ["native", "portable", *support.variants(operator_class, library, registry.load("framework", library))]


ARMS = [
    (name, library, variant)
    for name in OPERATORS
    for library in LIBRARIES
    for variant in variants(registry.load("operator", name), library)
]


def problems(name: str, changes: int = 1) -> list[Operator]:
    """The operator with each of its parameters, but those that it refuses together (a window without a causal mask)."""
    operator_class = registry.load("operator", name)
    made = []
    for params in parameters(operator_class, changes):
        with suppress(ConfigError):
            made.append(operator_class.from_params(params))
    return made


def cases(name: str, library: str, dtype: str, changes: int = 1) -> Iterator[tuple[Operator, Shape]]:
    """What a form is tried with: every problem in every shape.

    JAX compiles every function anew for every shape, in eager mode too, so it gets each problem and each shape once.
    """
    for number, problem in enumerate(problems(name, changes)):
        found = list(shapes(problem))
        if library == "jax" and (number or dtype != "float32"):
            found = found[:1]
        yield from ((problem, shape) for shape in found)
        if library == "jax" and dtype != "float32":
            return


def draw(problem: Operator, shape: Shape, dtype: str = "float64", seed: int = 0) -> tuple[list[Host], SimpleNamespace]:
    """Inputs and weights, rounded to a dtype."""
    rng = np.random.default_rng(seed)
    inputs = [round_to(values, dtype) for values in problem.inputs(rng, shape).values()]
    return inputs, SimpleNamespace(**{name: round_to(values, dtype) for name, values in problem.weights(rng).items()})


def reference(problem: Operator, inputs: list[Host], weights: SimpleNamespace) -> Host:
    """The reference of an operator with one output."""
    (out,) = references(problem, inputs, weights)
    return out


def references(problem: Operator, inputs: list[Host], weights: SimpleNamespace) -> list[Host]:
    out = problem.portable(array_namespace(), weights, *(values.copy() for values in inputs))
    return [np.asarray(leaf) for leaf in (out if isinstance(out, tuple | list) else [out])]


def build(problem: Operator, library: str, variant: str, weights: SimpleNamespace, dtype: str) -> Any:
    """An operator's call in a library, as the worker builds it."""
    arrays = SimpleNamespace(**{name: framework(library).array(value, dtype) for name, value in vars(weights).items()})
    return forms.build(framework(library), problem, variant, arrays)


def run(call: Any, library: str, inputs: list[Host], dtype: str) -> Host:
    """The output of a call that has one."""
    (out,) = outputs(call, library, inputs, dtype)
    return out


def outputs(call: Any, library: str, inputs: list[Host], dtype: str) -> list[Host]:
    chosen = framework(library)
    out = call(*(chosen.array(values, dtype) for values in inputs))
    chosen.wait(out)
    return [chosen.host(leaf) for leaf in chosen.leaves(out)]


def error(out: Host | list[Host], expected: Host | list[Host]) -> float:
    """||out - expected|| / ||expected|| over all outputs; indices must be equal."""
    pairs = list(zip(*(each if isinstance(each, list) else [each] for each in (out, expected)), strict=True))
    assert [one.shape for one, _ in pairs] == [other.shape for _, other in pairs]
    assert all((one == other).all() for one, other in pairs if np.issubdtype(other.dtype, np.integer))
    difference = sum(float(np.square(one - other).sum()) for one, other in pairs)
    return float(np.sqrt(difference / sum(float(np.square(other).sum()) for _, other in pairs)))


def has(library: str, dtype: str) -> bool:
    made = asked(library)
    try:
        if not isinstance(made, str):
            made.check_dtype(dtype)
    except Unsupported:
        return False
    return not isinstance(made, str)
