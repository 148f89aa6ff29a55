"""Composes the jobs of a sweep: Hydra does it once for each distinct choice of groups, which takes it 0.1 s, and what else
differs between jobs is set on the result.

A family is the jobs that differ in the values of the same settings alone. The result is Hydra's own, as a test compares.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode
from omegaconf.errors import OmegaConfBaseException

from mtbench.launch import config as configuration
from mtbench.launch import schema

TASK = "hydra.overrides.task"

OF_EACH_JOB = (
    TASK, "hydra.job.override_dirname", "hydra.job.id", "hydra.job.num", "hydra.runtime.output_dir",
)  # fmt: skip
"""What differs between any two jobs."""

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
"""What is an integer in Hydra's grammar, too."""

USUAL_SUBDIR = "${mtbench.folder:}"


@dataclass(frozen=True)
class Parsed:
    """An override. `is_setting`: it gives one `value` to a setting, and is no group, addition or deletion."""

    line: str
    key: str
    value: Any
    is_setting: bool
    is_hydras: bool


@dataclass
class Family:
    """`config` is that of one job at a time, made by `overrides`. `varying` are the keys in which it differs from others'."""

    config: DictConfig
    overrides: list[str]
    varying: frozenset[str]
    _leaves: dict[str, ValueNode] = field(default_factory=dict)

    def typed(self) -> schema.Config:
        """The job's configuration as typed data."""
        moved = {name: made for name in self._moving if (made := self._moved(name)) is not None}
        return schema.typed(self.config, self._steady | moved)

    def change(self, overrides: Sequence[Parsed]) -> bool:
        """Makes the configuration that of another job, as Hydra does. False where a value does not fit, of which Hydra can
        say more."""
        try:
            for override, before in zip(overrides, self.overrides, strict=True):
                if override.line != before:
                    self._set(override.key, override.value)
        except OmegaConfBaseException:
            return False
        changed = [place for place, one in enumerate(overrides) if one.line != self.overrides[place]]
        self.overrides = [override.line for override in overrides]
        told = [override for override in overrides if not override.is_hydras]
        if changed:
            for place, override in enumerate(told):
                if self._task[place] != override.line:
                    self._task[place] = override.line
                    self._set(f"{TASK}[{place}]", override.line)
            separator, between, left_out = self._dirname
            lines = sorted(one.line for one in told if one.key not in left_out)
            self._set("hydra.job.override_dirname", re.sub("=", separator, between.join(lines)))
        return True

    def number(self, number: int) -> None:
        """Gives the current job its number in the sweep."""
        self._set("hydra.job.id", str(number))
        self._set("hydra.job.num", number)

    def _set(self, key: str, value: Any) -> None:
        """Another value of a setting, checked against the schema. A plain one is set in its place: OmegaConf's own way to it
        takes a hundred times as long."""
        leaf = self._leaf(key)
        if leaf is not None:
            leaf._set_value(value)
        else:
            OmegaConf.update(self.config, key, value, merge=True)
            self._leaves.clear()  # some may have been replaced

    def _leaf(self, key: str) -> ValueNode | None:
        """The node of a plain value; None where there is none, or a container."""
        if key not in self._leaves:
            node: Any = self.config
            for name in key.replace("]", "").replace("[", ".").split("."):
                if isinstance(node, ListConfig):
                    node = node._get_node(int(name))
                else:
                    node = node._get_node(name) if isinstance(node, DictConfig) else None
            if not isinstance(node, ValueNode):
                return None
            self._leaves[key] = node
        return self._leaves[key]

    def composed(self) -> "Composed":
        """The current job, to be kept when the next one is composed."""
        given = {key: self._given(key) for key in self.varying if key != TASK}
        return Composed(self, {**given, TASK: list(self._task)})

    def _given(self, key: str) -> Any:
        """A setting's value as it was given, interpolations and all."""
        leaf = self._leaf(key)
        return _given(self.config, key) if leaf is None else leaf._value()

    @cached_property
    def _task(self) -> list[str]:
        """The overrides that are not Hydra's own, as the configuration holds them."""
        return list(OmegaConf.to_container(self.config.hydra.overrides.task, resolve=False))  # type: ignore[arg-type]

    @cached_property
    def _dirname(self) -> tuple[str, str, list[str]]:
        """The name of the folder that Hydra makes from overrides."""
        how = self.config.hydra.job.config.override_dirname
        return how.kv_sep, how.item_sep, list(how.exclude_keys)

    @cached_property
    def user_folders(self) -> list[Path]:
        return configuration.user_folders(self.config.hydra)

    @cached_property
    def has_usual_folder(self) -> bool:
        """Whether records go where they usually go, and not where the user said."""
        sweep = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        assert isinstance(sweep, dict)
        return bool(sweep["subdir"] == USUAL_SUBDIR)

    @cached_property
    def _steady(self) -> dict[str, Any]:
        """The sections that are the same for all jobs of this family."""
        return {
            name: schema.section(self.config, name)
            for name in schema.SECTIONS
            if name not in self._varying_sections and self._depends_on_itself(name)
        }

    @cached_property
    def _varying_sections(self) -> frozenset[str]:
        return frozenset(key.split(".")[0] for key in self.varying)

    @cached_property
    def _moving(self) -> dict[str, tuple[Any, dict[str, Any]]]:
        """The sections that differ in plain values of settings alone: as they are in one job, and these values there."""
        found = {}
        for name in self._varying_sections.intersection(schema.SECTIONS):
            keys = tuple(key for key in self.varying if key.split(".")[0] == name)
            if all(self._leaf(key) is not None for key in keys) and self._depends_on_itself(name):
                found[name] = (schema.section(self.config, name), {key: self._given(key) for key in keys})
        return found

    def _moved(self, name: str) -> Any:
        """Such a section as it is in the current job; None where a value is one that OmegaConf has to resolve."""
        made, there = self._moving[name]
        for key, before in there.items():
            value = self._given(key)
            if type(value) is type(before) and value == before:
                continue
            if isinstance(value, str) and ("${" in value or value == schema.MISSING):
                return None
            made = _with(made, key.split(".")[1:], value)
        return made

    def _depends_on_itself(self, name: str) -> bool:
        """Whether no interpolation makes a section depend on what differs."""
        node = self.config._get_node(name)
        raw = (
            OmegaConf.to_container(node, resolve=False)
            if isinstance(node, DictConfig | ListConfig)
            else getattr(node, "_value", lambda: None)()
        )
        found = list(_interpolations(raw))
        one_model = "model" not in self._varying_sections
        return not found or (one_model and all(text.startswith(configuration.OF_THE_MODEL) for text in found))


@dataclass(frozen=True)
class Composed:
    """A job of a family: the values, as they were given, of what varies in it."""

    family: Family
    values: Mapping[str, Any]


class Composer:
    """Composes jobs, one after the other."""

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        self._master = master
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Parsed] = {}
        self._settings: dict[str, Parsed] = {}  # by key
        self._families: dict[tuple[str, ...], Family] = {}

    def compose(self, number: int, overrides: Sequence[str]) -> Family:
        """The family of a job, whose `config` is this job's until the next one is composed."""
        parsed = [self._parse(override) for override in overrides]
        alike = tuple(f"{one.key}=?" if one.is_setting else one.line for one in parsed)
        family = self._families.get(alike)
        if family is None or not family.change(parsed):
            config = self._loader.load_sweep_config(self._master, list(overrides))
            settings = frozenset(one.key for one in parsed if one.is_setting)
            family = self._families[alike] = Family(config, list(overrides), settings | set(OF_EACH_JOB))
        family.number(number)
        return family

    def _parse(self, line: str) -> Parsed:
        if line not in self._parsed:
            key, _, text = line.partition("=")
            alike = self._settings.get(key)
            if alike is not None and INTEGER.fullmatch(text):
                self._parsed[line] = replace(alike, line=line, value=int(text))  # the parser takes 1 ms
            else:
                self._parsed[line] = self._read(line)
                if self._parsed[line].is_setting:
                    self._settings[self._parsed[line].key] = self._parsed[line]
        return self._parsed[line]

    def _read(self, line: str) -> Parsed:
        override = self._parser.parse_override(line)
        is_setting = _is_setting(override)
        value = override.value() if is_setting else None
        return Parsed(line, override.key_or_group, value, is_setting, override.is_hydra_override())


def _given(config: DictConfig, key: str) -> Any:
    """A setting's value as it was given, interpolations and all."""
    node: Any = config
    for name in key.split("."):
        node = None if node is None else node._get_node(name)
    if isinstance(node, DictConfig | ListConfig):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    return None if node is None else node._value()


def _with(values: Any, path: Sequence[str], value: Any) -> Any:
    """Typed data in which a setting, by its path, has another value."""
    name, *others = path
    if isinstance(values, dict):
        return {**values, name: _with(values[name], others, value) if others else value}
    return replace(values, **{name: _with(getattr(values, name), others, value) if others else value})


def _interpolations(value: Any) -> list[str]:
    """Every interpolation in plain values, each from its start."""
    if isinstance(value, dict):
        return [found for each in value.values() for found in _interpolations(each)]
    if isinstance(value, list):
        return [found for each in value for found in _interpolations(each)]
    return [value[match.start() :] for match in re.finditer(r"\$\{", value)] if isinstance(value, str) else []


def _is_setting(override: Override) -> bool:
    """Whether it gives one value to a setting. Groups have no dot in their names; Hydra's own settings may do anything."""
    return (
        "." in override.key_or_group
        and override.package is None
        and not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_hydra_override())
        and not override.is_sweep_override()
        and not isinstance(override.value(), dict | list)
    )
