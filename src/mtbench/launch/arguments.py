"""From Python values to what the command line says, so that both take the same path."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mtbench.launch.expand import LISTS

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


def arguments(groups: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """`key=value` of each group and setting that is given; a list or tuple of values is an axis, but for settings that are
    lists themselves."""
    given = {**groups, **settings}
    return [
        f"{key}={_list(value) if key in LISTS else _axis(value)}" for key, value in given.items() if value is not None
    ]


def flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as settings below a prefix."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _list(values: Sequence[Any]) -> str:
    return f"[{','.join(map(_value, values))}]"


def _axis(value: Any) -> str:
    return ",".join(map(_value, value)) if isinstance(value, (list, tuple)) else _value(value)


def _value(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not (PLAIN.fullmatch(value) or value.startswith(("glob(", "["))):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
