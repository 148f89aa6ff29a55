"""Turns what Hydra and OmegaConf raise at a user's mistake into one line that says what is wrong and what to do."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtbench import paths
from mtbench.errors import ConfigError, unknown
from mtbench.launch import config as configuration

_FLAGS = (
    "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc",
    "--info", "-i", "--experimental-rerun",
)  # fmt: skip
_FLAGS_WITH_VALUE = (
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--package",
    "-p",
    "--cfg",
    "-c",
)


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises ConfigError where a flag stands between overrides, which Hydra's parser reports as something else."""
    kinds: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument.startswith("-"):
            flag, _, value = argument.partition("=")
            if flag not in (*_FLAGS, *_FLAGS_WITH_VALUE):
                raise ConfigError(f"There is no option {flag}; settings are written key=value, such as operator=mha.")
            skip = flag in _FLAGS_WITH_VALUE and not value
            kinds.append(argument)
        else:
            kinds.append("override")
    first = kinds.index("override") if "override" in kinds else len(kinds)
    last = len(kinds) - kinds[::-1].index("override") if "override" in kinds else 0
    flags = [kind for kind in kinds[first:last] if kind != "override"]
    if flags:
        raise ConfigError(
            f"{flags[0]} stands between overrides; put it last: mtbench operator=mha dtype=float16 {flags[0]}"
        )


def explain(error: BaseException, arguments: Sequence[str]) -> str | None:
    """One line for a mistake of the user's; None where the error is not one, but a defect to be seen in full."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return str(cause)
    if isinstance(error, MissingConfigException):
        return _missing(error)
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is not an override; write key=value, such as shape.seq_len=64,128 (with -m at the end)."
    broken = next((cause for cause in causes if isinstance(cause, yaml.MarkedYAMLError)), None)
    if broken is not None and broken.problem_mark is not None:
        return f"{broken.problem_mark.name}, line {broken.problem_mark.line + 1}, is no YAML: {broken.problem}."
    text = " ".join(str(cause) for cause in causes)
    if "Ambiguous value for argument" in text:
        named = re.search(r"Ambiguous value for argument '(.*)'", text)
        return (
            f"{named.group(1) if named else 'An argument'} names several values; put -m at the end to sweep over them."
        )
    wrong = re.search(r"Could not (?:override|append|delete)[^']*'([^'=]*)", text)
    if wrong and any(words in text for words in ("No match in the defaults list", "is not in struct", "not in '")):
        key = wrong.group(1).lstrip("+~")
        if key == "experiment":
            return "An experiment is added, not chosen: write +experiment=name."
        return unknown("key or group", key, _known(key, arguments))
    unfit = re.search(
        r"(?:Error merging override|^)\s*(\S+=\S*).*?(Value '[^$'].*? could not be converted to \w+)", text
    )
    if unfit:
        return f"{unfit.group(1).rstrip(':')} does not fit: {unfit.group(2)}."
    if isinstance(error, InstantiationException) or not isinstance(causes[-1], HydraException | OmegaConfBaseException):
        return None
    return _first_line(causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _missing(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group or error.options is None:
        return str(error).splitlines()[0]
    return unknown(group, name, error.options)


def _first_line(causes: Sequence[BaseException]) -> str:
    """Hydra says where, the cause says what; both in one line."""
    lines = dict.fromkeys(str(cause).strip().splitlines()[0] for cause in causes if str(cause).strip())
    return ": ".join(line.rstrip(".:") for line in lines) + "."


def _known(key: str, arguments: Sequence[str]) -> list[str]:
    """Keys and groups that could have been meant: those of the same branch where it exists."""
    folder = paths.conf()
    groups = [path.name for path in folder.iterdir() if path.is_dir() and path.name != "hydra"]
    keys = list(_leaves("", configuration.Config()))
    operator = next((a.split("=", 1)[1] for a in arguments if a.startswith("operator=")), "softmax")
    file = folder / "operator" / f"{operator}.yaml"
    if file.exists():
        keys += [f"operator.params.{name}" for name in OmegaConf.select(OmegaConf.load(file), "params") or {}]
    branch = key.rpartition(".")[0]
    in_branch = [known for known in keys if branch and known.startswith(f"{branch}.")]
    return in_branch or groups + [known for known in keys if "." not in known]


def _leaves(prefix: str, node: Any) -> Iterator[str]:
    for item in fields(node):
        value = getattr(node, item.name)
        if is_dataclass(value):
            yield from _leaves(f"{prefix}{item.name}.", value)
        elif not isinstance(value, dict):
            yield f"{prefix}{item.name}"
