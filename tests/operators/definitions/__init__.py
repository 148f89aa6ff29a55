"""What each operator computes, written independently of mtbench: torch's functions and modules, and loops.

Each module here holds functions named as the operators: (problem, weights, *inputs as float64 tensors) -> output, or a
tuple of outputs. It may also hold, by operator:

- FLOPS: (problem, shape) -> operations, of operators whose work is not in matrix products, which torch counts itself.
- BYTES: (problem, shape, dtype) -> bytes, of operators that need not move all that they are given.
- SMALL: parameters that keep the operator small in tests, beside those of operator_cases.SMALL.
- SHAPES: shapes to test beside those of operator_cases.SHAPES.
- APART: parameters that tests of their own change.
- PARTIAL: libraries whose own form cannot do all that the parameters ask for, and says so.
- GPU_ONLY: {(library, variant): dtypes} of forms that a CPU has not.
- NOT_COMPILED: the same, of forms that a compiler cannot take there.
- WRONG: {(library, variant): dtypes} of forms that are a library's documented call and wrong on a CPU.
- SCALE: (low, high) of the root mean square of the outputs, where that is by definition not near 1.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]


def definition(operator: str) -> Callable[..., Any]:
    """An operator's independent definition; a new operator needs one."""
    (found,) = [vars(module)[operator] for module in MODULES if callable(vars(module).get(operator))]
    return found  # type: ignore[no-any-return]


def table(name: str) -> dict[str, Any]:
    """All modules' entries of one of the tables named above."""
    return {key: value for module in MODULES for key, value in vars(module).get(name, {}).items()}
