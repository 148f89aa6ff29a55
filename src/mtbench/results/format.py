"""Numbers and messages as people read them: the one place where times, ratios, percentages, rates and sizes are written."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mtbench.plain import to_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))

CONFIDENCE = 0.95
"""The confidence of every interval that does not name its own."""

MANY = 1 << 16
"""How many texts are cached: a report shows the same time of a job in its matrix, its chart, its row and on its own page."""

NOTHING = "–"
"""What stands where nothing was measured."""

RATIO_DIGITS = 4
"""Significant digits of a ratio: 1 % is what is looked for."""

OPEN_BOUND = 100
"""A bound that is more than this many times away from the ratio is shown as open."""


@lru_cache(MANY)
def duration(ns: float | None) -> str:
    """Nanoseconds in the unit that fits: `41.2 µs`."""
    return _scaled(ns, _TIMES)


def durations(ns: Sequence[float]) -> str:
    """Times in the unit and to the decimals of the first: `41.2, 41.9, 40.8 µs`."""
    if not ns:
        return NOTHING
    scale, unit = time_unit(ns[0])
    pattern = ", ".join([f"%.{_decimals(ns[0] / scale)}f"] * len(ns))  # all at once: a report has some hundred thousand
    return f"{pattern % tuple([one / scale for one in ns])} {unit}"


@lru_cache(MANY)
def interval(ns: float | None, low_ns: float | None, high_ns: float | None, confidence: float | None = None) -> str:
    """A time with its bounds in the same unit and to the same decimals, and its confidence where that is low:
    `41.2 µs [40.9, 41.7]`."""
    if ns is None or low_ns is None or high_ns is None:
        return duration(ns)
    scale, unit = time_unit(ns)
    decimals = _decimals(ns / scale)
    weak = f" at {percent(confidence, 3)}" if confidence is not None and confidence < CONFIDENCE else ""
    return f"{significant(ns / scale)} {unit} [{low_ns / scale:.{decimals}f}, {high_ns / scale:.{decimals}f}]{weak}"


def ratio(value: float, low: float | None = None, high: float | None = None) -> str:
    """A ratio with its bounds to the same decimals: `1.324x [1.301, 1.349]`, or `0.951x`. There are so many decimals that a
    bound that is not 1 does not look like 1: `1.0012x [1.0004, 1.0021]`."""
    decimals = max(0, _decimals(value) - (value < 1) + RATIO_DIGITS - 3)
    return _factor(value, low, high, decimals, decimals)


def times(value: float, low: float | None = None, high: float | None = None) -> str:
    """How many times as fast, above 1, with its bounds to the same decimals: `3.2x`, `32x [29, 36]`, `1.12x [1.04, 1.20]`."""
    decimals = 2 if value < 1.095 else 1 if value < 9.95 else 0
    return _factor(value, low, high, decimals, max(decimals, 2))


def slower_or_faster(ratio: float) -> str:
    """What a ratio of times says of the first, by a factor above 1: `6.8x slower`, `1.3x faster`."""
    return f"{times(max(ratio, 1 / ratio))} {'slower' if ratio >= 1 else 'faster'}"


def _factor(value: float, low: float | None, high: float | None, decimals: int, decimals_below: int) -> str:
    """A ratio with its bounds. A bound that is far away is shown as open; `decimals_below` is for an open lower bound."""
    if low is None or high is None:
        return f"{value:.{decimals}f}x"
    lowest, highest = value / OPEN_BOUND, value * OPEN_BOUND
    if low > max(1, lowest):
        decimals = _decimals_beside(low, 1, decimals)
    elif high < min(1, highest):
        decimals = _decimals_beside(high, 1, decimals)
    if lowest <= low and high <= highest:  # as most are; by one pattern it takes half as long
        number = f"%.{decimals}f"
        return f"{number}x [{number}, {number}]" % (value, low, high)
    below = f"<{lowest:.{decimals_below}f}" if low < lowest else f"{low:.{decimals}f}"
    above = f">{highest:.{decimals}f}" if high > highest else f"{high:.{decimals}f}"
    return f"{value:.{decimals}f}x [{below}, {above}]"


def span(seconds: float) -> str:
    """A time that someone has to wait: `40 s`, `4 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(max(2, round(seconds / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@lru_cache(MANY)
def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction in per cent, to `digits` significant digits or whole per cents: `104 %`, `7.1 %`, `0.032 %`."""
    if fraction is None:
        return NOTHING
    value = 100 * fraction
    if value == 0 or not math.isfinite(value):
        return f"{value:g} %"
    exponent = _exponent(value, digits)
    text = f"{value:.{max(0, digits - 1 - exponent)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def deviation(ratio: float, low: float, high: float) -> str:
    """How far a ratio and its bounds are from 1: `+0.49 % [+0.42 %, +0.60 %]`. A bound that is not 0 does not look like 0."""
    value, below, above = (100 * (one - 1) for one in (ratio, low, high))
    decimals = 2 if below <= 0 <= above else _decimals_beside(min(below, above, key=abs), 0, 2)
    return f"{value:+.{decimals}f} % [{below:+.{decimals}f} %, {above:+.{decimals}f} %]"


def size(count: float | None) -> str:
    """Bytes in binary units: `12.3 MiB`."""
    return _scaled(count, _BYTES)


def rate(per_second: float | None, unit: str) -> str:
    """A rate in decimal units: `1.23 TFLOP/s`."""
    return _scaled(per_second, _RATES, unit)


def small(value: float | None, unit: str) -> str:
    """An amount that is usually less than one of its unit: `12.3 mJ`."""
    return _scaled(value, _SMALL, unit)


def tokens(per_second: float | None) -> str:
    """A rate as those who run language models give it: `1230 tokens/s`."""
    return NOTHING if per_second is None else f"{significant(per_second)} tokens/s"


def p_value(value: float) -> str:
    """The chance of what was seen if there were no difference: `0.031`."""
    return f"{value:.2g}"


def error(found: float | None, tolerance: float | None = None) -> str:
    """A relative error, and the most that is allowed: `3.1e-07 / 1e-05`."""
    if found is None:
        return NOTHING
    return f"{found:.1e}" + ("" if tolerance is None else f" / {tolerance:.0e}")


def significant(value: float) -> str:
    """Three significant digits, without an exponent and without trailing zeros that say nothing."""
    if 1 <= value < 990:
        return f"{value:.{2 - _exponent(value, 3)}f}"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = f"{value:.2e}"  # rounded first: 0.9996 is 1.00
    return f"{float(text):.{max(0, 2 - int(text.partition('e')[2]))}f}"


def rounded(values: "NDArray[np.float64]", digits: int) -> "NDArray[np.float64]":
    """Numbers above 0 to `digits` significant digits, as `float(f"{value:.5g}")` would have each."""
    import numpy as np

    power = digits - 1 - np.floor(np.log10(values)).astype(int)
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)  # powers of ten that are exact
    found: NDArray[np.float64] = np.rint(values / down * up) / up * down
    return found


def time_unit(ns: float) -> tuple[float, str]:
    """The unit that fits a time, in nanoseconds, and its name."""
    return _unit(ns, _TIMES)


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: `0:07`, `12:30`, `1:02:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def plural(count: int, noun: str) -> str:
    """A noun as it is written after a count."""
    return noun if count == 1 else f"{noun}s"


def value(found: Any) -> str:
    """A setting or a fact: a word as it is, anything else as JSON."""
    return found if isinstance(found, str) else to_json(found)


def natural(text: str) -> list[Any]:
    """A sorting key: numbers within a text by their value, 2.9.0 before 2.10.0."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def one_line(message: str) -> str:
    """What a message says, on one line and without control characters; of a traceback, the error."""
    message = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", message)
    lines = [re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line).rstrip() for line in message.splitlines()]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    told = [line for line in after if line and not (frames and line.startswith(" "))]
    return told[0].strip() if told else ""


def _decimals(value: float) -> int:
    """Decimals that show three significant digits of a value."""
    if 1 <= value < 9.9:  # as most are, of some hundred thousand in a report
        return 2
    return 0 if value == 0 or not math.isfinite(value) else max(0, 2 - _exponent(value, 3))


def _exponent(value: float, digits: int) -> int:
    """The power of ten of a value that is rounded to so many digits: 9.996 counts as 10.0."""
    if digits > 1:  # most values, of which a report has some hundred thousand, are of these sizes and not near the next
        if 1 <= value < 9.9:
            return 0
        if 10 <= value < 99:
            return 1
        if 0.1 <= value < 0.99:
            return -1
        if 100 <= value < 990:
            return 2
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def _decimals_beside(value: float, other: float, least: int) -> int:
    """How many decimals, at least `least`, keep a value that is not `other` from being written like it."""
    while abs(value - other) < 10.0**-least and float(f"{value:.{least}f}") == other:
        least += 1
    return least


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    # 999.6 is written as 1000 with three digits, so it belongs to the next unit.
    value = abs(value)
    for unit in units:
        if value >= 0.9995 * unit[0]:
            return unit
    return units[-1]


def _scaled(value: float | None, units: tuple[tuple[float, str], ...], suffix: str = "") -> str:
    if value is None:
        return NOTHING
    size, name = _unit(value, units)
    return f"{significant(value / size)} {name}{suffix}".rstrip()
