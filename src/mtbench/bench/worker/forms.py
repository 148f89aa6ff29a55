"""From an operator to the function that is timed: its form in a library, compiled where that is asked for."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mtbench.errors import Unsupported
from mtbench.frameworks.base import Framework
from mtbench.operators.base import Operator


def build(framework: Framework, problem: Operator, variant: str, weights: SimpleNamespace) -> Callable[..., Any]:
    """The function to time: the operator's form in this library, or its portable definition where it has none.

    The native form is the operator's own, else the framework's; a definition composed of others takes theirs.
    """
    try:
        form = problem.form(framework.library, variant)
    except KeyError:
        others = problem.own_form(framework.variants) or {}
        if variant in others:
            return others[variant](problem, weights)
        known = ", ".join(("native", "portable", *problem.variants(framework.library), *others))
        raise Unsupported(
            f"{type(problem).__name__} has no variant '{variant}' in {framework.library}; it has {known}."
        ) from None
    if form is not None:
        return form(weights)
    if framework.own_forms_only is not None:
        raise Unsupported(f"{framework.library} runs {framework.own_forms_only}.")
    if variant == "portable" or not framework.forms:
        return problem.definition(framework.xp, weights)
    own = problem.own_form(framework.forms)
    if own is not None:
        return own(problem, weights)
    return problem.definition(SimpleNamespace(**vars(framework.xp), forms=framework.forms), weights)


def compiled(framework: Framework, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call through the library's compiler. A call with state of its own chooses the part of it that is compiled, and the
    settings for that."""
    own = getattr(call, "compiled", None)
    return framework.compile(call) if own is None else own(framework.compile)
