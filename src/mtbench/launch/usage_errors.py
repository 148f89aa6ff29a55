"""Usage errors that are found before Hydra composes anything, in one line that says what is wrong and what to do.

`explanations` has those that only composing shows."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtbench import paths
from mtbench.catalogue import registry
from mtbench.errors import SAID_OTHERWISE, ConfigError, unknown
from mtbench.launch.expand import LISTS, OPEN, as_axis, is_plain, parameters
from mtbench.launch.schema import Config
from mtbench.results.axes import PARAMS

_FLAGS = (
    "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc",
    "--info", "-i", "--dry-run",
)  # fmt: skip
_FLAGS_WITH_VALUE = (
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c",
)  # fmt: skip
_MULTIRUN = ("--multirun", "-m")
_DRY_RUN = "--dry-run"

SHOWN_PARTS = ("job", "hydra", "all")
"""What --cfg shows."""

LONGEST_NAME = 200
"""Of what is chosen in a group; file systems take 255 bytes."""

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")

BY_NAME = ("operator", "framework", "dtype", "device", "model", "experiment", "protocol")
"""The groups whose names somebody may write alone."""

OF_THE_SWEEP = ("earlier", "report", "dry_run")

RENAMED = {"protocol.epochs": "protocol.restarts"}
"""Settings of earlier versions, and what they are called since."""


def check_arguments(arguments: Sequence[str], more_folders: Sequence[Path] = ()) -> list[Override]:
    """The overrides among the arguments, of which each is one that can be. Raises ConfigError."""
    flags = _flags(arguments)
    multirun = any(flag in flags for flag in _MULTIRUN)
    if multirun and {"--cfg", "-c"} & flags.keys():
        raise ConfigError("--cfg shows one combination; leave -m out.")
    if multirun and {"--run", "-r"} & flags.keys():
        raise ConfigError("--run measures one combination and -m a sweep; give one of them.")
    for flag in ("--cfg", "-c"):
        for value in flags.get(flag, []):
            if value not in SHOWN_PARTS:
                raise ConfigError(unknown(f"part for {flag}", value, SHOWN_PARTS))
    if "--resolve" in flags and not {"--cfg", "-c"} & flags.keys():
        raise ConfigError("--resolve goes with --cfg: mtbench --cfg job --resolve.")
    folders = [paths.conf(), *(Path(folder) for name in ("--config-dir", "-cd") for folder in flags.get(name, []))]
    folders += more_folders
    groups = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    overrides = [_parsed(argument, folders) for argument in flags[""]]
    operators = [str(value) for one in overrides if one.key_or_group == "operator" for value in _values(one)]
    elsewhere = {"--config-name", "-cn"} & flags.keys() or any(one.key_or_group == "experiment" for one in overrides)
    for override in overrides:
        _check(override, groups, operators, folders)
        if not (operators or elsewhere) and override.key_or_group.startswith(PARAMS):
            _check_parameter_of_default(override.key_or_group.removeprefix(PARAMS), folders)
    return overrides


def for_hydra(arguments: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """The arguments as Hydra needs them, checked; `folders` are further ones of YAML. Raises ConfigError.

    Several values, or an experiment, which brings axes, are a sweep, whether -m says so or not. In a sweep, a parameter is
    an axis too: else Hydra would look for it in the operator that holds where none is chosen.
    """
    overrides = check_arguments(arguments, folders)
    single = ("--cfg", "-c", "--run", "-r", "--help", "-h", "--hydra-help", "--info", "-i")
    arguments = _dry_run_as_setting(arguments)
    sweeps = any(each.is_sweep_override() or each.key_or_group == "experiment" for each in overrides)
    if not any(argument in _MULTIRUN for argument in arguments):
        if not sweeps or any(argument.split("=")[0] in single for argument in arguments):
            return list(arguments)
        arguments = [*arguments, "-m"]
    alone = {each.input_line for each in overrides if each.key_or_group.startswith(PARAMS) and is_plain(each)}
    return [as_axis(argument) if argument in alone else argument for argument in arguments]


def _dry_run_as_setting(arguments: Sequence[str]) -> Sequence[str]:
    """`--dry-run`, which Hydra does not know, as a setting beside the others."""
    if _DRY_RUN not in arguments:
        return arguments
    others = [argument for argument in arguments if argument != _DRY_RUN]
    settings = _flags(others)[""]
    place = others.index(settings[0]) if settings else len(others)
    return [*others[:place], "dry_run=true", *others[place:]]


def _flags(arguments: Sequence[str]) -> dict[str, list[str]]:
    """The flags with their values, and the overrides under ''. Raises ConfigError where a flag stands between overrides,
    which Hydra's parser reports as something else."""
    found: dict[str, list[str]] = {"": []}
    kinds: list[str] = []
    wanting: str | None = None
    for argument in arguments:
        if wanting is not None:
            found[wanting].append(argument)
            wanting = None
        elif argument.startswith("-"):
            flag, _, value = argument.partition("=")
            if flag not in (*_FLAGS, *_FLAGS_WITH_VALUE):
                raise ConfigError(f"There is no option {flag}; settings are written key=value, such as operator=mha.")
            found.setdefault(flag, []).extend([value] if value else [])
            wanting = flag if flag in _FLAGS_WITH_VALUE and not value else None
            kinds.append(argument)
        else:
            found[""].append(argument)
            kinds.append("")
    if wanting is not None:
        raise ConfigError(f"{wanting} needs a value after it.")
    first = kinds.index("") if "" in kinds else len(kinds)
    last = len(kinds) - kinds[::-1].index("") if "" in kinds else 0
    if between := [kind for kind in kinds[first:last] if kind]:
        raise ConfigError(
            f"{between[0]} stands between settings; put it last: mtbench operator=mha dtype=float16 {between[0]}"
        )
    return found


def _parsed(argument: str, folders: Sequence[Path]) -> Override:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        key, given, value = argument.partition("=")
        if given and value and key.replace(".", "").replace("_", "").lstrip("+~").isalnum():
            raise ConfigError(f"{argument} needs quotes for Hydra: '{key}=\"{value}\"'.") from None
        meant = _choosing(argument, folders)
        say = f"did you mean {meant}?" if meant else "write key=value, such as shape.seq_len=64,128."
        raise ConfigError(f"'{argument}' is not a setting; {say}") from None


def _choosing(name: str, folders: Sequence[Path]) -> str | None:
    """The setting that chooses a name which stands alone, by our name or others' (`bf16`: `dtype=bfloat16`)."""
    for group in BY_NAME:
        known = {path.stem.casefold(): path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
        for each in (name.casefold(), *SAID_OTHERWISE.get(name.casefold(), ())):
            if each in known:
                return f"{'+' if group == 'experiment' else ''}{group}={known[each]}"
    return None


def _check(override: Override, groups: Mapping[str, Path], operators: Sequence[str], folders: Sequence[Path]) -> None:
    key = override.key_or_group.split("@")[0]
    if key.split(".")[0].split("/")[0] == "hydra":
        _check_hydras(override, key)
        return
    if key in RENAMED:
        raise ConfigError(f"{key} was renamed; write {RENAMED[key]}.")
    if key == "experiment" and not override.is_add():
        raise ConfigError("Experiments need a plus sign: write +experiment=name.")
    values = [] if override.is_delete() else _values(override)
    if key in groups:
        if override.is_delete() or any(not _is_name(value) for value in values):
            raise ConfigError(f"{str(override.input_line)[:80]} chooses nothing; {_choices(groups[key])}")
        for value in values:
            _check_yaml(key, str(value), folders)
        return
    leaves = _leaves("", Config())
    if key.startswith(PARAMS):
        _check_parameter(key.removeprefix(PARAMS), operators, folders)
    elif not key.startswith(OPEN) and key not in leaves and not any(leaf.startswith(f"{key}.") for leaf in leaves):
        kind = "setting" if override.is_add() else "key or group"
        asked = operators or registry.names("operator")
        more = [*leaves, *sorted({PARAMS + name for one in asked for name in parameters(one, folders)})]
        raise ConfigError(unknown(kind, key, _nearby(key, groups, leaves), more))
    elif key in leaves:
        if key in OF_THE_SWEEP and len(values) != 1:
            raise ConfigError(f"{override.input_line}: {key} applies to the whole sweep and takes one value.")
        for value in values:
            _check_type(key, value)


def _check_yaml(group: str, name: str, folders: Sequence[Path]) -> None:
    """Raises ConfigError where a user's Python file has no YAML beside it, without which Hydra does not know its name, and for
    a model's file, which `mtbench which` takes as a model and a sweep as a parameter."""
    if group == "model" and name.endswith(".json"):
        raise ConfigError(f"model= takes a preset here; give the file as operator.params.config={name}, to causal_lm.")
    if any((folder / group / f"{name}.yaml").is_file() for folder in folders):
        return
    for folder in folders:
        if (file := folder / group / f"{name}.py").is_file():
            raise ConfigError(
                f"{file} has no {name}.yaml beside it; write one with the line name: {name}, and its params:."
            )


def _is_name(value: Any) -> bool:
    """Whether a YAML file can have this name."""
    return isinstance(value, str) and 0 < len(value) < LONGEST_NAME and value.isprintable()


def _check_hydras(override: Override, key: str) -> None:
    """Raises ConfigError if one of Hydra's own settings has an impossible value."""
    if override.is_delete() or key == "hydra":
        raise ConfigError(
            f"{override.input_line} would remove settings that mtbench needs; set single keys of hydra instead."
        )
    values = _values(override)
    if "/" in key:
        names = [name for value in values for name in (value if isinstance(value, list) else [value])]
        if not names or not all(map(_is_name, names)):
            raise ConfigError(f"{str(override.input_line)[:80]} chooses nothing; {key} takes a name.")
        return
    if key.split(".")[1] in ("sweeper", "launcher", "job_logging", "hydra_logging", "callbacks"):
        return  # what has no type of its own
    if key in FOLDERS and "" in values:
        raise ConfigError(f"{key}= names no folder; write {key}=. for the current folder.")
    setting = key.removeprefix("hydra.")
    for value in values:
        try:
            OmegaConf.update(OmegaConf.structured(HydraConf), setting, value, merge=False)
        except (OmegaConfBaseException, KeyError) as error:
            raise ConfigError(f"{key}={value} does not fit: {str(error).splitlines()[0]}.") from error


def _choices(folder: Path) -> str:
    return f"known: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}."


def _values(override: Override) -> list[Any]:
    """The values that an override gives, as Python has them; none of a glob, which takes what there is. Raises ConfigError."""
    try:
        if not override.is_sweep_override():
            return [override.value()]
        if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
            return []
        return [getattr(value, "text", value) for value in override.sweep_iterator()]
    except (ValueError, HydraException) as error:
        raise ConfigError(f"{override.input_line}: {str(error).splitlines()[0]}.") from error


def _check_type(key: str, value: Any) -> None:
    if isinstance(value, str) and "${" in value:
        return
    if isinstance(value, str) and key in LISTS:
        raise ConfigError(f"{key}={value} does not fit: a list is written in brackets, '{key}=[{value}]'.")
    try:
        OmegaConf.update(_schema(), key, value, merge=False)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}={value} does not fit: {str(error.msg or error).splitlines()[0]}.") from error


@cache
def _schema() -> DictConfig:
    """An empty configuration in which values are tried."""
    schema: DictConfig = OmegaConf.structured(Config)
    return schema


def _check_parameter(name: str, operators: Sequence[str], folders: Sequence[Path]) -> None:
    """Raises ConfigError where none of the operators that are asked for has a parameter of this name."""
    known = set().union(*(parameters(one, folders) for one in operators))
    if known and name.split(".")[0] not in known:
        raise ConfigError(unknown("key or group", PARAMS + name, [PARAMS + one for one in known]))


def _check_parameter_of_default(name: str, folders: Sequence[Path]) -> None:
    """Raises ConfigError where the operator that is measured if none is chosen lacks a parameter of this name."""
    defaults = OmegaConf.load(paths.conf() / "config.yaml").defaults
    default = next(str(one.operator) for one in defaults if isinstance(one, DictConfig) and "operator" in one)
    name = name.split(".")[0]
    if name in parameters(default, folders):
        return
    having = [one for one in registry.names("operator") if name in parameters(one, folders)]
    if not having:
        every = {known for one in registry.names("operator") for known in parameters(one, folders)}
        raise ConfigError(unknown("parameter of an operator", name, every))
    raise ConfigError(f"{PARAMS}{name} needs an operator that has it; add operator={' or operator='.join(having[:3])}.")


def _nearby(key: str, groups: Mapping[str, Path], leaves: Sequence[str]) -> list[str]:
    """The keys and groups that were possibly meant: those of the same branch, if it exists."""
    branch = key.rpartition(".")[0]
    in_branch = [known for known in leaves if branch and known.startswith(f"{branch}.")]
    return in_branch or [name for name in groups if name != "hydra"] + [known for known in leaves if "." not in known]


def _leaves(prefix: str, node: Any) -> list[str]:
    found: list[str] = []
    for item in fields(node):
        value = getattr(node, item.name)
        found += _leaves(f"{prefix}{item.name}.", value) if is_dataclass(value) else [f"{prefix}{item.name}"]
    return found
