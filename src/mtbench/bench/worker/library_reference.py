"""The reference of an operator that has no definition (`Operator.reference_library`), in a process of its own:

python -m mtbench.bench.worker.library_reference OPERATOR FILE LIBRARY PARAMS GIVEN FOUND
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.operators import _kept_answers
from mtbench.operators.base import Host

DTYPE = "float64"


def main(operator: str, file: str, library: str, params: str, given: str, found: str) -> None:
    """The native form's answer in float64 on the CPU. Raises Unsupported where the library does not compute in it."""
    framework: Framework = registry.load("framework", library)(Settings(device="cpu"))
    problem = registry.load("operator", operator, file).from_params(json.loads(params))
    arrays, weights = _kept_answers.given(given)
    inputs = [_in_float64(framework, value) for value in arrays]
    held = SimpleNamespace(**{name: _in_float64(framework, value) for name, value in weights.items()})
    call = forms.build(framework, problem, "native", held)
    if problem.brings_modules:
        call = framework.adopt(call, DTYPE)
    out = call(*inputs)
    framework.wait(out)
    _kept_answers.found(found, [_host(framework, leaf) for leaf in framework.leaves(out)])


def _in_float64(framework: Framework, values: Host) -> Any:
    array = framework.array(values, DTYPE)
    if np.issubdtype(values.dtype, np.floating) and "float64" not in str(array.dtype):
        raise Unsupported(
            f"{framework.library} does not compute in float64 here, as a reference must; use torch as reference_library."
        )
    return array


def _host(framework: Framework, leaf: Any) -> Host:
    """Indices and masks stay what they are."""
    kind = str(leaf.dtype)
    return framework.host(leaf).astype(bool if "bool" in kind else np.int64 if "int" in kind else np.float64)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ConfigError, Unsupported) as error:
        sys.exit(str(error))
