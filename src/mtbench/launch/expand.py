"""From axes to jobs: expands a sweep's YAML and command line into one list of overrides per job."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType

from mtbench.catalogue import registry
from mtbench.errors import ConfigError
from mtbench.plan.protocol import Protocol
from mtbench.results.axes import PARAMS

NOT_AXES = ("sweep", "experiment")

VARIANT = "operator.variant"

COMPILE = "framework.compile."

OF_A_SERVER = ("framework.url=", "framework.model=")

LISTS = (
    "contenders",
    "earlier",
    *(f"protocol.{each.name}" for each in fields(Protocol) if each.default_factory is not MISSING),
)
"""Settings whose value is a list: `[8, 16]` is one value of theirs."""

VERBATIM = ("framework.requirement", "framework.python")
"""Keys whose values are not in Hydra's grammar, which refuses the = of `mlx==0.31.0` and the ~ of a home folder."""

OWN = "framework.settings."

OPEN = ("framework.env.", OWN, "framework.compile.options.")
"""Branches whose names are the user's own, where Hydra would have each added by ++."""

BETWEEN_VALUES = re.compile(r",(?![^\[]*\])(?=\s*[\w.~/'\"])")
"""A comma between values, and not one between extras (`mlx[cpu,dev]`) or bounds (`mlx>=0.31,<0.32`)."""


def quoted(argument: str) -> str:
    """An argument as Hydra's grammar needs it: the values of VERBATIM keys in quotes, names in OPEN branches added, a GPU's
    number as the device's name, since there is no YAML for each; all others as they are."""
    key, _, values = argument.partition("=")
    if key.startswith(OPEN):
        return f"++{argument}"
    if key == "device" and ":" in values:
        return f"device.name={values}"
    if key not in VERBATIM or values.startswith(("choice(", "glob(")):
        return argument
    return f"{key}={','.join(map(_quoted_value, BETWEEN_VALUES.split(values)))}"


def _quoted_value(value: str) -> str:
    value = value.strip()
    if value == "null" or value[:1] in ("'", '"'):
        return value
    return "'" + value.replace("'", "\\'") + "'"


def is_plain(override: Override) -> bool:
    """Whether it sets one value."""
    return not override.is_sweep_override() and not override.is_add() and not override.is_delete()


def as_axis(argument: str) -> str:
    """A setting of one value as an axis with that value alone: it stands there twice, and is taken once. Hydra's choice() takes
    no null, and takes the quotes off a text."""
    key, _, value = argument.partition("=")
    return f"{key}={value},{value}"


def expand(
    loader: ConfigLoader,
    params: Mapping[str, Any],
    grids: Sequence[Mapping[str, Any]],
    arguments: Sequence[str],
) -> list[list[str]]:
    """The overrides of each job: the product of all axes, for each grid; without grids, of `params` alone.

    `params` and `grids` are as YAML has them, `arguments` in Hydra's grammar. Where several operators are asked for, each takes
    those of the parameters on the command line that it has.

    What the command line says of an axis of `params` replaces it. Of an axis of a grid it selects: `operator=mha` with a
    grid over sdpa and mha leaves mha, and grids without mha drop out. Raises ConfigError where no job is left, or for an
    axis over `sweep` or `experiment`, which bring axes of their own: Hydra would silently use the first one's for all.
    """
    if not isinstance(params, Mapping) or not all(isinstance(grid, Mapping) for grid in _listed(grids)):
        raise ConfigError(
            "hydra.sweeper.params must be a mapping of axes, and hydra.sweeper.grids a list of such mappings."
        )
    parser = OverridesParser.create(config_loader=loader)
    given = {_key(override): override for override in parser.parse_overrides(list(arguments))}
    for name in NOT_AXES:
        override = given.get(name) or given.get(f"+{name}")
        if override is not None and override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: a {name} has its own axes, so only one can run at a time; run them in turn."
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
    jobs = _with_variants(loader, jobs, given.get(VARIANT))
    jobs = _without_strange_parameters(loader, jobs, [key for key in given if key.startswith(PARAMS)])
    jobs = _without_idle_settings(loader, jobs, (COMPILE,), _takes_settings)
    jobs = _without_idle_settings(loader, jobs, OF_A_SERVER, _asks_a_server)
    for key in dict.fromkeys(key.lstrip("+") for key in given if key.lstrip("+").startswith(OWN)):
        jobs = _without_idle_settings(loader, jobs, (f"{key}=",), partial(_has_setting, key.removeprefix(OWN)))
    if not jobs:
        raise ConfigError(f"No job is left: no grid of this experiment contains {' '.join(arguments)}.")
    return [list(job) for job in jobs]


def _listed(grids: Any) -> Sequence[Any]:
    return grids if isinstance(grids, Sequence) and not isinstance(grids, str) else [grids]


def _without_strange_parameters(
    loader: ConfigLoader, jobs: Mapping[tuple[str, ...], None], given: Sequence[str]
) -> dict[tuple[str, ...], None]:
    """The jobs without those given parameters that their operator lacks and another operator of the sweep has."""
    chosen = {job: _chosen(job, "operator") for job in jobs}
    operators = sorted({operator for operator in chosen.values() if operator is not None})
    if not given or len(operators) < 2:
        return dict(jobs)
    folders = _folders(loader)
    known = {operator: parameters(operator, folders) for operator in operators}
    anybodys = set().union(*known.values())

    def kept(job: tuple[str, ...]) -> tuple[str, ...]:
        own = known.get(chosen[job] or "", anybodys)
        strange = {key for key in given if key.removeprefix(PARAMS) in anybodys - own}
        return tuple(override for override in job if override.split("=", 1)[0] not in strange)

    return dict.fromkeys(map(kept, jobs))


def _with_variants(
    loader: ConfigLoader, jobs: Mapping[tuple[str, ...], None], asked: Override | None
) -> dict[tuple[str, ...], None]:
    """Where variants are asked for by a glob: the jobs with each that their operator has in their library, of those that it
    names. Raises ConfigError where a job names neither."""
    if asked is None or asked.value_type is not ValueType.GLOB_CHOICE_SWEEP:
        return dict(jobs)
    from mtbench.catalogue import support

    folders = _folders(loader)
    glob: Any = asked.value()
    found: dict[tuple[str, ...], None] = {}
    for job in jobs:
        operator, framework = _chosen(job, "operator"), _chosen(job, "framework")
        if operator is None or framework is None:
            raise ConfigError(f"{asked.input_line} depends on the operator and the framework; choose both.")
        library = str(_declared("framework", framework, folders).get("name", framework))
        operator_class = registry.load("operator", operator, _file("operator", operator, folders))
        framework_class = registry.load("framework", library, _file("framework", library, folders))
        known = dict.fromkeys(operator_class.all_variants(library))
        known |= dict.fromkeys(support.variants(operator_class, library, framework_class))
        rest = [override for override in job if not override.startswith(f"{VARIANT}=")]
        found |= {(*rest, f"{VARIANT}={name}"): None for name in glob.filter(list(known))}
    return found


def _without_idle_settings(
    loader: ConfigLoader,
    jobs: Mapping[tuple[str, ...], None],
    settings: tuple[str, ...],
    takes: Callable[[Mapping[str, Any]], bool],
) -> dict[tuple[str, ...], None]:
    """The jobs without settings that begin so, where their framework takes none and another one of the sweep does. `takes` says
    of a framework's YAML whether it does."""
    folders = _folders(loader)
    chosen = {job: _chosen(job, "framework") for job in jobs}
    taking = {name: takes(_declared("framework", name, folders)) for name in {*chosen.values()} if name}
    if not any(taking.values()):
        return dict(jobs)

    def kept(job: tuple[str, ...]) -> tuple[str, ...]:
        idle = not taking.get(chosen[job] or "", True)
        return tuple(each for each in job if not (idle and each.lstrip("+").startswith(settings)))

    return dict.fromkeys(map(kept, jobs))


def _asks_a_server(declared: Mapping[str, Any]) -> bool:
    """Whether a framework's YAML names a server; a user's own may."""
    library = str(declared.get("name"))
    ours = library in registry.names("framework")
    return "url" in (registry.load("framework", library).own_settings if ours else declared)


def _has_setting(name: str, declared: Mapping[str, Any]) -> bool:
    """Whether a framework has a setting of its own by this name; one that is not ours may."""
    library = str(declared.get("name"))
    return library not in registry.names("framework") or name in registry.load("framework", library).own_settings


def _takes_settings(declared: Mapping[str, Any]) -> bool:
    """Whether this framework's YAML takes settings of a compiler; one that is not ours may."""
    library = str(declared.get("name"))
    ours = library in registry.names("framework")
    return declared.get("mode") == "compiled" and (
        not ours or bool(registry.load("framework", library).compiler_has_settings)
    )


def _chosen(job: Sequence[str], group: str) -> str | None:
    return dict(override.split("=", 1) for override in job if "=" in override).get(group)


def _folders(loader: ConfigLoader) -> list[Path]:
    return [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]


def parameters(operator: str, folders: Sequence[Path]) -> set[str]:
    """The parameters that an operator's YAML declares, in the first of these folders that has it."""
    declared = _declared("operator", operator, folders).get("params")
    return {str(name) for name in declared} if isinstance(declared, Mapping) else set()


def _file(group: str, name: str, folders: Sequence[Path]) -> str | None:
    """A user's own Python file of that name, in the first of these folders that has it."""
    return next((str(path) for folder in folders if (path := folder / group / f"{name}.py").is_file()), None)


def _declared(group: str, name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The content of the YAML of this name, from the first of these folders that has it."""
    file = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return dict(content or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}  # what is wrong with it is said when it is composed


def _axis(key: str, values: Any) -> Any:
    """An axis from YAML: text with commas, or a list, unless the setting itself is a list."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    return ",".join(map(str, values)) if is_list and key not in LISTS else values


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    return {_key(override): _values(override) for override in overrides}


def _key(override: Override) -> str:
    return override.get_key_element()


def _values(override: Override) -> list[str]:
    """One override per value of an axis."""
    key = _key(override)
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP and key == VARIANT:
        return [f"{key}=*"]  # which depends on the job
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_delete():
        return [override.input_line or ""]
    return [f"{key}={override.get_value_element_as_str()}"]
