"""Checks that what an operator drew can be inputs: NumPy arrays by name, of numbers, indices or masks."""

from typing import Any

import numpy as np

from mtbench.errors import ConfigError

KINDS = (np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_)
"""Large arrays are drawn in the narrowest type that has a dtype's values (mtbench.reference)."""


def sound_inputs(operator: str, drawn: Any) -> None:
    """Raises ConfigError where an operator's `inputs` did not give a mapping of names to NumPy arrays of at least one value."""
    if not isinstance(drawn, dict):
        raise ConfigError(
            f'{operator}.inputs gives {_a(drawn)}, and not arrays by name; write return {{"x": array}}, '
            "in the order of the timed function's arguments."
        )
    if not drawn:
        raise ConfigError(f"{operator}.inputs gives no array; a function without arguments has nothing to compute.")
    for name, values in drawn.items():
        if not isinstance(values, np.ndarray):
            raise ConfigError(f"{operator}.inputs gives {_a(values)} for {name}; give a NumPy array.")
        if values.dtype.type not in KINDS:
            raise ConfigError(f"{operator}.inputs gives {values.dtype} for {name}; give float64, int64 or bool.")


def _a(value: Any) -> str:
    kind = type(value).__name__
    return "an array" if kind == "ndarray" else f"a {kind}"
