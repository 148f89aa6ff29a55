"""mtbench: compares transformer operators in PyTorch, MLX, JAX and NumPy, with the uncertainty of each result.

`measure`, `time`, `read`, `make_plan` and `run` are the Python API; they are loaded when they are first used.
"""

from typing import TYPE_CHECKING, Any

from mtbench.results.version import __version__

if TYPE_CHECKING:
    from mtbench.api import Best, Results, make_plan, measure, read, run, time

__all__ = ["Best", "Results", "__version__", "make_plan", "measure", "read", "run", "time"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mtbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'mtbench' has no attribute '{name}'")
