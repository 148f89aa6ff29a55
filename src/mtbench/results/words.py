"""How times, ratios, cells and messages are said in a terminal, wherever one is written to."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from rich.console import Console

from mtbench.results.record import Record, named
from mtbench.results.units import duration, time_unit

STYLES = {
    "ok": "green",
    "faster": "green",
    "slower": "red",
    "measuring": "green",
    "preparing": "yellow",
    "unsupported": "yellow",
    "interrupted": "yellow",
    "waiting": "dim",
    "inconclusive": "dim",
}
FAILURE = "bold red"  # every status that is not named above


def interval(ns: float, low_ns: float | None, high_ns: float | None) -> str:
    """A time with its bounds in the same unit and to the same decimals: "41.2 µs [40.9, 41.7]"."""
    if low_ns is None or high_ns is None:
        return duration(ns)
    scale, _ = time_unit(ns)
    decimals = _decimals(ns / scale)
    return f"{duration(ns)} [{_digits(low_ns / scale, decimals)}, {_digits(high_ns / scale, decimals)}]"


OPEN_BOUND = 100
"""A bound of a ratio that is so many times away from it says no more than that there is none."""


def times(ratio: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """A ratio with its bounds to the same decimals: "1.32x [1.30, 1.35]", or with 4 digits "1.324x [1.301, 1.349]"."""
    decimals = max(0, _decimals(ratio) - (ratio < 1) + digits - 3)  # 57.1, 1.32, 0.95
    if low is None or high is None:
        return f"{_digits(ratio, decimals)}x"
    lowest, highest = ratio / OPEN_BOUND, ratio * OPEN_BOUND
    below = f"<{_digits(lowest, decimals)}" if low < lowest else _digits(low, decimals)
    above = f">{_digits(highest, decimals)}" if high > highest else _digits(high, decimals)
    return f"{_digits(ratio, decimals)}x [{below}, {above}]"


def percent(fraction: float) -> str:
    """A fraction in per cent, to two significant digits or whole per cents: "104 %", "7.1 %", "0.032 %"."""
    value = 100 * float(f"{fraction:.1e}") if fraction < 0.1 else 100 * fraction
    return f"{_digits(value, max(0, _decimals(value) - 1))} %"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: "0:07", "12:30", "1:02:03"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _decimals(value: float) -> int:
    """Decimals that show three significant digits of a value."""
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = math.floor(math.log10(float(f"{abs(value):.2e}")))  # 9.996 counts as 10.0
    return max(0, 2 - exponent)


def _digits(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def one_line(message: str) -> str:
    """What a message says, on one line and without control characters; of a traceback, the error."""
    message = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", message)
    lines = [re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line).rstrip() for line in message.splitlines()]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    told = [line for line in after if line and not (frames and line.startswith(" "))]
    return told[0].strip() if told else ""


def place(record: Record) -> tuple[Any, ...]:
    """Where a cell stands in a table: a sorting key."""
    r = record
    return r.operator, r.model or "", _natural(r.params), r.dtype, r.batch_size, r.seq_len, r.kv_len or 0, r.cell_id


def _natural(text: str) -> list[str | int]:
    """A sorting key in which 768 comes before 1024."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def differing(records: Sequence[Record], operator: str) -> list[str]:
    """Parameters in which an operator's cells differ."""
    found = {(record.params, record.model) for record in records if record.operator == operator}
    seen = [named(json.loads(params), model) for params, model in found]
    return sorted(
        {name for params in seen for name in params if any(other.get(name) != params[name] for other in seen)}
    )


def title(record: Record, parameters: Sequence[str] = ()) -> str:
    params = named(json.loads(record.params), record.model)
    model = "" if record.model is None else f" {record.model}"
    keys = "" if record.kv_len is None else f" kv {record.kv_len}"
    differing = "".join(f" {name}={params[name]}" for name in parameters if name in params and name != "model")
    return f"{record.operator}{model} {record.dtype} batch {record.batch_size} seq {record.seq_len}{keys}{differing}"


def plural(count: int, noun: str) -> str:
    """A noun as it stands behind a count."""
    return noun if count == 1 else f"{noun}s"


def never_fail_on_a_character(console: Console) -> None:
    """Where the output cannot show µ, a ? shall stand there, rather than end a sweep of hours."""
    if isinstance(console.file, TextIOWrapper) and not console.encoding.startswith("utf"):
        with suppress(ValueError):  # a stream that is in use already may refuse
            console.file.reconfigure(errors="replace")
