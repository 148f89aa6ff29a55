"""What an operator's parameters may be: their types, and the check of a user's values."""

import sys
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mtbench.errors import ConfigError, unknown

POSITIVE = "more than 0"
Size = Annotated[int, POSITIVE]
"""A parameter that counts something: a whole number, 1 or more."""
Positive = Annotated[float, POSITIVE]
"""A parameter that is a finite number above 0."""

LARGEST_SIZE = 1 << 40
"""The largest size of an axis. No memory holds more, and it fits into a column of 64 bits."""


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raises ConfigError where a value is not of a field's type. A bool is not a number here; a whole number is a float,
    too."""
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in choices:
        return
    (hint,) = (choice for choice in choices if choice is not NoneType)
    if get_origin(hint) is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
            raise ConfigError(unknown(name, str(value), map(str, get_args(hint))))
        return
    positive = get_origin(hint) is Annotated and POSITIVE in get_args(hint)
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind)
    if wanted is None:  # a type of the operator's own, which checks it itself
        return
    accepted = (int, float) if kind is float else kind
    valid = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if valid and kind in (int, float):
        valid = abs(value) <= (LARGEST_SIZE if kind is int else sys.float_info.max) and (value > 0 or not positive)
    if not valid:
        above = {int: ", 1 or more", float: " above 0"}[kind] if positive else ""
        given = {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else repr(value)
        none = "null or " if NoneType in choices else ""
        raise ConfigError(f"operator.params.{name}={given} does not fit; it must be {none}{wanted}{above}.")
