"""The gate for continuous integration: when B counts as worse than A, so that a build must fail.

A gate must not fail by accident, so it takes more than an estimate beyond the limit:

- Interleaved: the verdict is slower, also after a correction for all rows of the table at once, and the whole interval, which
  holds what differs between restarts, lies beyond the limit.
- Descriptive: the whole conservative interval lies beyond it, and both sides ran on one machine.
- Whatever was ok in A and is not in B fails, too.

A true difference slightly beyond the limit passes, therefore, until it is measured precisely enough: set the limit below the
difference that must not pass.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from mtbench.compare.row import Row
from mtbench.errors import ConfigError
from mtbench.results import comparison
from mtbench.results.format import percent
from mtbench.results.verdicts import Comparison

LEAST_CONFIDENCE = 0.85
"""Of a descriptive interval that a gate may rely on: 2 x 93.75 % - 100 % is that of two medians of five restarts."""


def fraction(text: str, option: str) -> float:
    """What `5%` or `0.05` means, 0.05. Raises ConfigError for anything else: a bare 5 might mean either."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 <= value < (math.inf if percent else 1):
        raise ConfigError(f"{option} {text}: give a percentage such as 5%, or a fraction such as 0.05.")
    return value


def gated(rows: Sequence[Row], limit: float) -> tuple[list[Row], list[str]]:
    """The rows with why each fails, where it does, and remarks on those that could not be judged.

    `limit` is relative: 0.05 is 5 % slower. Raises ConfigError where not one row can be judged.
    """
    together = iter(comparison.judged([("table", row.comparison) for row in rows if row.comparison is not None]))
    strict = [None if row.comparison is None else next(together) for row in rows]
    found = [replace(row, failure=_failure(row, one, limit)) for row, one in zip(rows, strict, strict=True)]
    with_ratio = [row for row in found if row.comparison is not None]
    unfit = [reason for row in with_ratio if (reason := _unfit(row))]
    if len(unfit) == len(with_ratio) and not any(row.failure for row in found):
        raise ConfigError(f"--fail-if-slower can judge no cell: {unfit[0] if unfit else 'none was ok on both sides'}.")
    notes = [f"{unfit.count(reason)} not judged by the gate: {reason}" for reason in dict.fromkeys(unfit)]
    return found, notes


def _failure(row: Row, strict: Comparison | None, limit: float) -> str | None:
    """Why the gate rejects this row, or None; `strict` is its comparison, corrected for the whole table."""
    if row.a is None or row.b is None:
        return None
    if row.a.record.status == "ok" and row.b.record.status != "ok":
        return f"ok in A, {row.b.record.status} in B"
    if strict is None or strict.low <= 1 + limit or _unfit(row):
        return None
    if strict.interleaved and strict.verdict != "slower":
        return None
    return f"slower by more than {percent(limit, 4)}"


def _unfit(row: Row) -> str | None:
    """Why the gate cannot judge this row; None if it can."""
    assert row.a is not None
    assert row.b is not None
    assert row.comparison is not None
    if row.a.record.machine_id != row.b.record.machine_id:
        return "measured on different machines"
    if row.comparison.bounds is None:
        return "no interval"
    least = 1 - comparison.ALPHA if row.comparison.interleaved else LEAST_CONFIDENCE
    return "too few blocks" if row.comparison.confidence < least else None
