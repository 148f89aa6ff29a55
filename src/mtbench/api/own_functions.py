"""`mtbench.time`: a user's own functions and modules as contenders.

This file is given to workers as a user's operator file is, and defines one operator, whose parameter `factory` names the
function that makes what is timed. It has no definition: the reference is the answer of one of the contenders, computed in a
process of its own and kept in the cache folder.
"""

import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtbench.catalogue import registry
from mtbench.errors import ConfigError, unknown
from mtbench.operators import _kept_answers
from mtbench.operators.base import Call, Host, Operator, Shape, array_bytes, random_weight

if TYPE_CHECKING:
    from mtbench.plan.jobs import Plan

Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class OwnFunction(Operator):
    """A call that `factory`, `file.py:name` or `package.module:name`, makes of weights.

    `inputs_json` and `weights_json` are shapes by name, JSON. `reference` is the factory that all are held to, run in
    `reference_framework`.
    """

    factory: str
    reference: str
    reference_framework: str
    inputs_json: str
    weights_json: str = "{}"

    independent_rows = False
    brings_modules = True

    def caveats(self) -> list[str]:
        return [f"checked only against {Path(self.reference).name}: your own contenders have no other reference"]

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {name: rng.normal(size=sizes) for name, sizes in json.loads(self.inputs_json).items()}

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        shapes: dict[str, list[int]] = json.loads(self.weights_json)
        return {name: random_weight(rng, *sizes) if sizes else rng.normal(size=()) for name, sizes in shapes.items()}

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        """Inputs and weights, read once."""
        return array_bytes({**json.loads(self.inputs_json), **json.loads(self.weights_json)}, dtype)

    def form(self, library: str, variant: str) -> Callable[[SimpleNamespace], Call] | None:
        return lambda weights: _made(self.factory, weights)

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        """The reference's answer to these inputs."""
        source = Path(_file_of(self.reference)).read_bytes() if ":" in self.reference else b""
        arguments = [self.reference, self.reference_framework]
        return _kept_answers.answer("mtbench.api.own_functions", arguments, source, vars(w), inputs)


def plan_of(
    contenders: Mapping[str, str],
    inputs: Sizes,
    weights: Sizes,
    libraries: Mapping[str, str],
    usual: "Mapping[str, Plan]",
    tolerance: float | None,
) -> "Plan":
    """The plan of `mtbench.time`. `usual` is one of any operator by library, which has what is asked for in the words of a
    configuration: arm, dtype, protocol, tolerance. Raises ConfigError."""
    from mtbench.plan import jobs as plans
    from mtbench.results.axes import CONTENDERS

    arms = {library: made.jobs[0].arm for library, made in usual.items()}
    as_usual = usual[libraries[next(iter(contenders))]]
    first = next(iter(contenders))
    sizes = [list(shape) for shape in inputs.values()]
    shape = Shape(int(sizes[0][0]) if sizes[0] else 1, int(sizes[0][1]) if len(sizes[0]) > 1 else 1)
    jobs = []
    for name, factory in contenders.items():
        params = {
            "factory": _absolute(factory),
            "reference": _absolute(contenders[first]),
            "reference_framework": arms[libraries[first]].framework,
            "inputs_json": json.dumps({one: list(each) for one, each in inputs.items()}),
            "weights_json": json.dumps({one: list(each) for one, each in weights.items()}),
        }
        task = plans.Task(
            "own_function",
            tuple(sorted(params.items())),
            as_usual.jobs[0].task.dtype,
            shape,
            str(Path(__file__).resolve()),
        )
        allowed = 2 * as_usual.jobs[0].tolerance if tolerance is None else tolerance
        axes = (*CONTENDERS, "operator.params.factory")
        jobs.append(plans.job(task, plans.named(arms[libraries[name]], name), allowed, axes))
    return plans.plan(jobs, as_usual.protocol)


def _absolute(factory: str) -> str:
    """A factory with the whole path of its file. Raises ConfigError where there is no such file."""
    place, colon, name = factory.rpartition(":")
    if not colon or not name.isidentifier():
        raise ConfigError(f"'{factory}' does not name a function; write file.py:function or package.module:function.")
    if not place.endswith(".py"):
        return factory
    file = Path(place).expanduser()
    if not file.is_file():
        raise ConfigError(f"There is no file {place}.")
    return f"{file.resolve()}:{name}"


def _file_of(factory: str) -> str:
    place = factory.rpartition(":")[0]
    return place if place.endswith(".py") else str(importlib.import_module(place).__file__)


def _made(factory: str, weights: SimpleNamespace) -> Call:
    """What a factory makes: it gets the weights as a namespace where it takes an argument. Raises ConfigError."""
    place, _, name = factory.rpartition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last: a worker's path is safe, so that nothing there shadows a library
    module = registry.module_from(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    function = getattr(module, name, None)
    if function is None:
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise ConfigError(unknown(f"function in {place}", name, known))
    made: Call = function(weights) if signature(function).parameters else function()
    if not callable(made):
        raise ConfigError(f"{name} in {place} returned {type(made).__name__}, which cannot be called.")
    return made


def _reference(factory: str, framework_name: str, given: str, found: str) -> None:
    """The reference's process: the factory's answer in float32 on the CPU, which all libraries have."""
    from mtbench.frameworks.base import Framework, Settings

    framework: Framework = registry.load("framework", framework_name)(Settings(device="cpu"))
    inputs, weights = _kept_answers.given(given)
    arrays = {name: framework.array(value, "float32") for name, value in weights.items()}
    call = framework.adopt(_made(factory, SimpleNamespace(**arrays)), "float32")
    out = call(*(framework.array(value, "float32") for value in inputs))
    framework.wait(out)
    _kept_answers.found(found, [framework.host(leaf) for leaf in framework.leaves(out)])


if __name__ == "__main__":
    _reference(*sys.argv[1:])
