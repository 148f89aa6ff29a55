"""What comes over the wire is judged before it is believed: a library that writes into the pipe must not reach a record."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST_NS = 1 << 62
"""146 years; a longer time would not fit into a record's columns."""

LARGEST_INT = (1 << 63) - 1


def sound_times(times_ns: Sequence[float]) -> None:
    """Raises ValueError where these cannot be the times of calls, in nanoseconds."""
    if not times_ns:
        raise ValueError("no call was timed")
    if min(times_ns) < 0 or max(times_ns) > LONGEST_NS:
        raise ValueError("a call took less than nothing, or for ever")


def message_in(line: bytes) -> dict[str, Any]:
    """The JSON object in a line. Raises ValueError or RecursionError where there is none, or a number that no
    column holds."""
    message = json.loads(line, parse_constant=_refuse)
    if not isinstance(message, dict):
        raise ValueError("no object")
    for number in _numbers(message):
        if not (math.isfinite(number) if isinstance(number, float) else abs(number) <= LARGEST_INT):
            raise ValueError("a number that no column holds")
    return message if line.find(b"\\ud") < 0 and line.find(b"\\uD") < 0 else _writable(message)


def _writable(value: Any) -> Any:
    """Plain values in which lone surrogates are written as escapes. A path that is not UTF-8 has some, and nothing can print or
    store them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_writable(each) for each in value]
    return {_writable(key): _writable(each) for key, each in value.items()} if isinstance(value, dict) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in plain values. Of a list of numbers, which may be a block of thousands, the smallest and the largest."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list):
        if value and all(type(each) in (int, float) for each in value):
            yield from (min(value), max(value))
        else:
            for each in value:
                yield from _numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
