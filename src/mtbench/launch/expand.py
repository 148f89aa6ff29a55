"""From axes to jobs: expands a sweep's YAML and command line into one list of overrides per job."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from mtbench.errors import ConfigError
from mtbench.protocol import Protocol

NOT_AXES = ("sweep", "experiment")

LISTS = ("contenders", *(f"protocol.{each.name}" for each in fields(Protocol) if each.default_factory is not MISSING))
"""Settings whose value is a list: `[8, 16]` is one value of theirs."""

VERBATIM = ("framework.requirement", "framework.python")
"""Keys whose values are not in Hydra's grammar, which refuses the = of `mlx==0.31.0` and the ~ of a home folder."""

BETWEEN_VALUES = re.compile(r",(?![^\[]*\])(?=\s*[\w.~/'\"])")
"""A comma between values, and not one between extras (`mlx[cpu,dev]`) or bounds (`mlx>=0.31,<0.32`)."""


def quoted(argument: str) -> str:
    """An argument as Hydra's grammar needs it: the values of VERBATIM keys in quotes, all others as they are."""
    key, _, values = argument.partition("=")
    if key not in VERBATIM or values.startswith(("choice(", "glob(")):
        return argument
    return f"{key}={','.join(map(_quoted_value, BETWEEN_VALUES.split(values)))}"


def _quoted_value(value: str) -> str:
    value = value.strip()
    if value == "null" or value[:1] in ("'", '"'):
        return value
    return "'" + value.replace("'", "\\'") + "'"


def expand(
    loader: ConfigLoader,
    params: Mapping[str, Any],
    grids: Sequence[Mapping[str, Any]],
    arguments: Sequence[str],
) -> list[list[str]]:
    """The overrides of each job: the product of all axes, for each grid; without grids, of `params` alone.

    What the command line says of an axis of `params` replaces it. Of an axis of a grid it selects: `operator=mha` with a
    grid over sdpa and mha leaves mha, and grids without mha drop out. Raises ConfigError where no job is left, or for an
    axis over `sweep` or `experiment`, which bring axes of their own: Hydra would silently use the first one's for all.
    """
    parser = OverridesParser.create(config_loader=loader)
    given = {
        _key(override): override for override in parser.parse_overrides([quoted(argument) for argument in arguments])
    }
    for name in NOT_AXES:
        override = given.get(name) or given.get(f"+{name}")
        if override is not None and override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: a {name} brings its own axes, so only one can run; run them in turn."
            )
    jobs: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        axes = _axes(
            parser.parse_overrides([quoted(f"{key}={_axis(key, value)}") for key, value in {**params, **grid}.items()])
        )
        for key, override in given.items():
            asked = _values(override)
            if key in grid:
                asked = [value for value in asked if value in axes[key]]
            axes[key] = asked
        jobs |= dict.fromkeys(product(*axes.values()))
    if not jobs:
        raise ConfigError(f"No job is left: no grid of this experiment has {' '.join(arguments)}.")
    return [list(job) for job in jobs]


def _axis(key: str, values: Any) -> Any:
    """An axis as YAML has it: text with commas, or a list, except for a setting that is a list itself."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    return ",".join(map(str, values)) if is_list and key not in LISTS else values


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    return {_key(override): _values(override) for override in overrides}


def _key(override: Override) -> str:
    return override.get_key_element()


def _values(override: Override) -> list[str]:
    """One override per value of an axis."""
    key = _key(override)
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_delete():
        return [override.input_line or ""]
    return [f"{key}={override.get_value_element_as_str()}"]
