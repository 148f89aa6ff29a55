"""Numbers as people read them: three significant digits and a unit."""

import math

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))

CONFIDENCE = 0.95
"""Of every interval that does not name its own."""

NOTHING = "–"
"""What stands where nothing was measured."""


def duration(ns: float | None) -> str:
    """Nanoseconds in the unit that fits: `41.2 µs`."""
    return _scaled(ns, _TIMES)


def interval(ns: float | None, low_ns: float | None, high_ns: float | None, confidence: float | None = None) -> str:
    """A time and its interval in the unit of the time: `41.2 µs [40.9, 41.8]`, and its confidence where that is low."""
    if ns is None or low_ns is None or high_ns is None:
        return duration(ns)
    size, _ = time_unit(ns)
    weak = f" at {percent(confidence)}" if confidence is not None and confidence < CONFIDENCE else ""
    return f"{duration(ns)} [{significant(low_ns / size)}, {significant(high_ns / size)}]{weak}"


def size(count: float | None) -> str:
    """Bytes in binary units: `12.3 MiB`."""
    return _scaled(count, _BYTES)


def rate(per_second: float | None, unit: str) -> str:
    """A rate in decimal units: `1.23 TFLOP/s`."""
    return _scaled(per_second, _RATES, unit)


def tokens(per_second: float | None) -> str:
    """A rate as those who run language models give it: `1230 tokens/s`."""
    return NOTHING if per_second is None else f"{significant(per_second)} tokens/s"


def significant(value: float) -> str:
    """Three significant digits, without an exponent and without trailing zeros that say nothing."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    value = float(f"{value:.2e}")  # rounded first: 0.9996 is 1.00
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def percent(fraction: float | None) -> str:
    """A fraction in per cent, three significant digits at most: `1.23 %`, `95 %`."""
    return NOTHING if fraction is None else f"{100 * fraction:.3g} %"


def time_unit(ns: float) -> tuple[float, str]:
    """The unit that fits a time, in nanoseconds, and its name."""
    return _unit(ns, _TIMES)


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    # 999.6 is written as 1000 with three digits, so it belongs to the next unit.
    return next((unit for unit in units if abs(value) >= 0.9995 * unit[0]), units[-1])


def _scaled(value: float | None, units: tuple[tuple[float, str], ...], suffix: str = "") -> str:
    if value is None:
        return NOTHING
    size, name = _unit(value, units)
    return f"{significant(value / size)} {name}{suffix}"
