"""Which engine runs a sweep, and the settings of all engines. Their values are in conf/engine/*.yaml."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mtbench import paths
from mtbench.errors import ConfigError, unknown

NAMES = ("local", "slurm", "ray")

OF = {
    "gpus": ("local", "ray"),
    "together": ("local",),
    "shard_minutes": ("slurm", "ray"),
    "at_once": ("slurm",),
    "minutes": ("slurm",),
    "wait": ("slurm",),
    "options": ("slurm",),
    "address": ("ray",),
    "each": ("ray",),
}
"""The engines that read a setting. All engines read the settings that are not listed."""

FITTING: dict[str, tuple[type, ...]] = {
    "shards": (int,), "at_once": (int,), "minutes": (int,), "shard_minutes": (int, float), "together": (bool,),
    "wait": (bool,), "options": (dict,), "address": (str,), "each": (str,), "gpus": (str, int, list),
}  # fmt: skip
"""The types of each setting's values."""

KINDS = {int: "an integer", bool: "true or false", dict: "a mapping", str: "text"}
"""How messages name the type that a value must have."""


@dataclass
class EngineSettings:
    """The engine and its settings; each is explained in the YAML of the engines that read it."""

    name: str = "local"
    gpus: Any = None  # all, or numbers
    shards: int | None = None
    together: bool = True
    shard_minutes: float | None = None
    at_once: int | None = None
    minutes: int | None = None
    wait: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    address: str | None = None
    each: str | None = None

    @property
    def cuts(self) -> bool:
        """Whether the sweep is cut into parts."""
        return self.name != "local" or self.gpus is not None or self.shards is not None


def check(settings: EngineSettings) -> EngineSettings:
    """The settings, with the numbers of GPUs as a list. Raises ConfigError where they do not fit each other."""
    if settings.name not in NAMES:
        raise ConfigError(unknown("engine", settings.name, NAMES))
    for each in fields(settings):
        readers = OF.get(each.name, NAMES)
        if settings.name not in readers and getattr(settings, each.name) != getattr(EngineSettings(), each.name):
            raise ConfigError(f"engine.{each.name} is a setting of engine={' and '.join(readers)} only.")
    for name in ("shards", "shard_minutes", "at_once", "minutes"):
        value = getattr(settings, name)
        if value is not None and value <= 0:
            raise ConfigError(f"engine.{name}={value} must be more than 0.")
    if settings.each not in (None, "machine"):
        raise ConfigError(f"engine.each={settings.each} is not valid; valid: machine.")
    if settings.gpus is not None and settings.each is not None:
        raise ConfigError("engine.gpus and engine.each exclude each other: each=machine takes whole machines.")
    if settings.each is not None and settings.shards is not None:
        raise ConfigError(
            "engine.shards and engine.each exclude each other: each kind of machine measures the whole plan."
        )
    if settings.name == "local" and settings.gpus is not None and settings.shards is not None:
        raise ConfigError("engine.gpus and engine.shards exclude each other: with gpus there is one part for each GPU.")
    return replace(settings, gpus=_gpus(settings))


def of_data(asked: str | Mapping[str, Any]) -> EngineSettings:
    """Settings from an engine's name, or from a mapping such as `{"name": "slurm", "shards": 4}`. Raises ConfigError."""
    given = {"name": asked} if isinstance(asked, str) else dict(asked)
    settings = _named(given.pop("name", "local"))
    for name, value in given.items():
        settings = _with(settings, name, value)
    return check(settings)


def changed(before: EngineSettings, given: Sequence[str]) -> EngineSettings:
    """The settings with `engine=slurm` or `engine.shards=4`, for instance, in the order given. Raises ConfigError."""
    import yaml

    settings = before
    for one in given:
        key, _, text = one.partition("=")
        if key == "engine":
            settings = _named(text)
            continue
        value: Any = text
        with suppress(yaml.YAMLError):
            value = yaml.safe_load(text)
        settings = _with(settings, key.removeprefix("engine."), value)
    return check(settings)


def _named(name: str) -> EngineSettings:
    """What the YAML of an engine says."""
    import yaml

    if name not in NAMES:
        raise ConfigError(unknown("engine", name, NAMES))
    return EngineSettings(**yaml.safe_load((paths.conf() / "engine" / f"{name}.yaml").read_text()))


def _with(settings: EngineSettings, name: str, value: Any) -> EngineSettings:
    if name not in FITTING:
        raise ConfigError(unknown("setting", f"engine.{name}", [f"engine.{each}" for each in FITTING]))
    if not isinstance(value, FITTING[name]) and not (value is None and name not in ("together", "wait", "options")):
        raise ConfigError(f"engine.{name}={value} does not fit: it is {KINDS[FITTING[name][0]]}.")
    new: dict[str, Any] = {name: value}
    return replace(settings, **new)


def _gpus(settings: EngineSettings) -> Any:
    """`all`, or a list of numbers; None where none are asked for. GPUs of a Ray cluster cannot be chosen by number."""
    given = settings.gpus
    if given is None or given == "all":
        return given
    if settings.name == "ray":
        raise ConfigError(f"engine.gpus={given} is not valid with engine=ray; valid: all.")
    numbers = [given] if isinstance(given, int) else given
    fits = isinstance(numbers, list | tuple) and numbers and all(type(one) is int and one >= 0 for one in numbers)
    if not fits or len(set(numbers)) < len(numbers):
        raise ConfigError(f"engine.gpus={given} is not valid; valid: all, or numbers in brackets, such as [0,1].")
    return list(numbers)
