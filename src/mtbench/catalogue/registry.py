"""Finds operators and frameworks by name: the file's name is the name, in the package or beside a user's own YAML."""

import ast
import importlib
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mtbench.errors import ConfigError, meant, unknown
from mtbench.frameworks.base import Framework
from mtbench.operators.base import Operator

_BASES: dict[str, type] = {"operator": Operator, "framework": Framework}

OF_ALL = ("native", "portable")
"""The variants that each operator has in each library."""


def names(group: str) -> list[str]:
    """The names in the package of a group (`operator` or `framework`), sorted; files named `_...` are their shared parts."""
    return list(_names(group))


@cache
def _names(group: str) -> tuple[str, ...]:
    folder = Path(__file__).parents[1] / f"{group}s"
    stems = (path.stem for path in folder.glob("*.py"))
    return tuple(sorted(stem for stem in stems if stem != "base" and not stem.startswith("_")))


def load(group: str, name: str, file: str | None = None) -> type[Any]:
    """The class that a file defines: `file` where given, else the package's file of that name.

    Raises ConfigError where there is no such file, or it does not define exactly one class of the group's base.
    """
    if file is not None:
        return _class_in(module_from(Path(file)), group)
    if name not in _names(group):
        raise ConfigError(unknown(group, name, names(group)))
    return _ours(group, name)


@cache
def _ours(group: str, name: str) -> type[Any]:
    return _class_in(importlib.import_module(f"mtbench.{group}s.{name}"), group)


def _class_in(module: ModuleType, group: str) -> type[Any]:
    base = _BASES[group]
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        others = {} if found else _classes(module)
        told = "".join(f" {name} (line {line}) does not derive from it." for name, line in others.items())
        raise ConfigError(
            f"{module.__file__} must define one class that derives from {base.__module__}.{base.__name__}; "
            f"it defines {len(found)}.{told}"
        )
    return _whole(found[0], module)


def _whole(found: type[Any], module: ModuleType) -> type[Any]:
    """A class that lacks nothing that each of its kind has. Raises ConfigError."""
    if lacking := sorted(getattr(found, "__abstractmethods__", ())):
        own = [name for name, value in vars(found).items() if callable(value)]
        told = [f"{name} ({meant(name, own)[0]} is nearly so called)" if meant(name, own) else name for name in lacking]
        base = _BASES["operator" if issubclass(found, Operator) else "framework"]
        raise ConfigError(
            f"{_place(found, module)} has no method {' and no method '.join(told)}; {base.__module__} says what it does."
        )
    if vars(found).get("__annotations__") and "__dataclass_params__" not in vars(found):
        raise ConfigError(
            f"{_place(found, module)} is no dataclass, so it has no parameters; write @dataclass(frozen=True) above it."
        )
    return found


def _place(found: type[Any], module: ModuleType) -> str:
    return f"{module.__file__}, line {_classes(module).get(found.__name__, 1)}: {found.__name__}"


def _classes(module: ModuleType) -> dict[str, int]:
    """The classes of a file by name, with the line of each."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return {node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def known_variants(operator_class: type[Operator], framework: str, framework_file: str | None) -> tuple[str, ...]:
    """The variants that any operator has in any library, named in methods such as `torch_stock`, or brought by a framework.

    Of any, so that `operator=glob(*) operator.variant=stock` can be asked for; those that lack it are `unsupported`.
    """
    prefixes = tuple(f"{library}_" for library in {*names("framework"), framework})
    classes = [operator_class, *(load("operator", name) for name in names("operator"))]
    named = {name.split("_", 1)[1] for each in classes for name in dir(each) if name.startswith(prefixes)}
    brought = [load("framework", name).variants for name in names("framework")]
    brought.append(load("framework", framework, framework_file).variants)
    named |= {name for forms in brought for variants in forms.values() for name in variants}
    return (*OF_ALL, *sorted(named))


def module_from(file: Path) -> ModuleType:
    """Imports a user's file under a name of its own, so that `torch.py` in a user's folder shadows nothing."""
    name = f"mtbench_user.{file.parent.name}.{file.stem}"
    if name in sys.modules and sys.modules[name].__file__ == str(file):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.exists():
        raise ConfigError(f"There is no Python file {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is being executed
    spec.loader.exec_module(module)
    return module
