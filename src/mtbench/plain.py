"""Converts typed data to JSON values and back, for the wire and for files; fingerprints of content.

A worker may run under an interpreter that has few packages, so this needs the standard library alone.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses as dicts, sequences as lists, paths and times as text; JSON has no infinity, so it becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return value.as_posix()
    return value.isoformat() if isinstance(value, datetime) else value


def from_plain(kind: type[T], value: Any, where: str = "") -> T:
    """The typed value that `to_plain` made `value` of. Raises ValueError that says where it is not one."""
    return cast("T", _typed(kind, value, where or getattr(kind, "__name__", str(kind))))


def _typed(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return _tuples(value)
    if origin in (Union, UnionType):
        return _one_of(arguments, value, where)
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return _tuple(arguments, value, where)
    if origin in (list, Sequence) and isinstance(value, list):
        if all(type(item) is arguments[0] for item in value):  # a block may have thousands of samples
            return value
        return [_typed(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    if origin in (dict, Mapping) and isinstance(value, dict):
        key_kind, item_kind = arguments
        return {key_kind(key): _typed(item_kind, item, f"{where}.{key}") for key, item in value.items()}
    if kind in (Path, datetime) and isinstance(value, str):
        return Path(value) if kind is Path else datetime.fromisoformat(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is {_shown(value)}, not {getattr(kind, '__name__', kind)}")


def _one_of(kinds: Sequence[Any], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    (kind,) = (each for each in kinds if each is not NoneType)
    return _typed(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_shown(value)}, not an object")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind) if each.init}
    if strangers := [name for name in value if name not in known]:
        raise ValueError(f"{where} has no field {strangers[0]}")
    needed = {name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING}
    if missing := needed - value.keys():
        raise ValueError(f"{where} lacks {min(missing)}")
    return kind(**{name: _typed(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _tuple(kinds: Sequence[Any], value: Sequence[Any], where: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_typed(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} items, not {len(kinds)}")
    return tuple(_typed(kind, item, f"{where}[{n}]") for n, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _tuples(value: Any) -> Any:
    """Lists of any values as tuples, since jobs must be hashable."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def to_json(value: Any) -> str:
    """JSON with sorted keys, the form in which nested facts stand in a record."""
    return json.dumps(value, sort_keys=True)


def fingerprint(content: Any, digits: int = 64) -> str:
    """So many hexadecimal digits for plain values, whatever the order of their names: the same on every machine and day. Ten
    of them leave a chance of about 1e-6 that any two of a thousand are alike."""
    return fingerprint_of_bytes(json.dumps(content, sort_keys=True).encode(), digits)


def fingerprint_of_bytes(content: bytes, digits: int = 64) -> str:
    """So many hexadecimal digits for a file's bytes, or a text's."""
    return hashlib.sha256(content).hexdigest()[:digits]
