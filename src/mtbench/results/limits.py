"""How near to the limit: the roofs of a machine, recomputed where records of several sweeps meet.

A roof is the best rate that any library reached on a machine's device with a dtype and precision. A sweep knows the rates that
earlier ones kept. Records that were measured before a better rate was found are compared with that one here.
"""

import math
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]

ALIKE = ("machine_id", "device", "device_index", "dtype", "matmul_precision")
"""Records that agree in these columns share their roofs."""

ROUNDING = 1e-9
"""Equal numbers lie no further apart, relative to each other."""

UNSURE = "roof unsure"
"""The beginning of the warning that a record's limit may be too near."""

ROOF_UNSURE = (
    f"{UNSURE}: the machine was busy whenever its peak rates were measured, so that the limit may be farther away"
)

AGREEMENT = 0.1
"""A peak is sure if another sure measurement, or the second best block of its own, lies no further below it than this: other
work on the machine would make them differ."""

FLOPS, BYTES = ("peak_flops_per_s", "peak_flops_set_by"), ("peak_bytes_per_s", "peak_bytes_set_by")


def limit_ns(flops: float, bytes_moved: float, flops_per_s: float | None, bytes_per_s: float | None) -> float | None:
    """The shortest time that the roofs allow for this work; None where there is none, or a roof for it is not known."""
    spans = []
    for work, rate in ((flops, flops_per_s), (bytes_moved, bytes_per_s)):
        if work > 0:
            if rate is None:
                return None
            spans.append(work / rate * 1e9)
    return max(spans, default=None)


def reached(
    flops: float, bytes_moved: float, call_ns: float, flops_per_s: float | None, bytes_per_s: float | None
) -> tuple[float | None, float | None]:
    """That time, and its part of the time that a call took; None for both where there is no limit."""
    limit = limit_ns(flops, bytes_moved, flops_per_s, bytes_per_s)
    return limit, None if limit is None else limit / call_ns


def per_second(amount: float, ns: float) -> float:
    """The rate per second of an amount that takes `ns` nanoseconds."""
    return amount / ns * 1e9


def higher(one: tuple[float | None, bool], other: tuple[float | None, bool]) -> tuple[float | None, bool]:
    """The higher of two measurements of a peak, and whether it is sure: if it is itself, or the other is, and agrees."""
    (best, best_sure), (least, least_sure) = sorted((one, other), key=lambda each: each[0] or 0.0, reverse=True)
    if best is None or best_sure or least is None:
        return best, best_sure
    return best, least_sure and best <= (1 + AGREEMENT) * least


def sure(row: Row) -> bool:
    """Whether the roof that sets a record's limit is sure: else the limit may be farther away."""
    return not any(warning.startswith(UNSURE) for warning in row["warnings"] or ())


def set_by(row: Row) -> str | None:
    """The library that set the limit of a record: that of its lower roof."""
    return None if row["limit_ns"] is None else row.get(FLOPS[1] if by_flops(row) else BYTES[1])


def by_flops(row: Row) -> bool:
    """Whether the roof of products sets the limit of a record, and not that of memory."""
    limit, span = row["limit_ns"], _flops_ns(row)
    return limit is not None and span is not None and math.isclose(span, limit, rel_tol=ROUNDING)


def _flops_ns(row: Row) -> float | None:
    """How long a record's FLOPs take at its own roof; None where it has none, or no FLOPs."""
    return row["flops"] / row["peak_flops_per_s"] * 1e9 if row["flops"] and row["peak_flops_per_s"] else None


def _bound_by_products(row: Row) -> bool:
    """Whether the roof of products may bound a record. It does not where its limit is below what its FLOPs take at that roof:
    its products are of integers, which are faster (`Operator.computes_in_dtype`)."""
    span = _flops_ns(row)
    return span is None or row["limit_ns"] is None or span <= row["limit_ns"] * (1 + ROUNDING)


def merged(records: "pl.DataFrame") -> "pl.DataFrame":
    """The records, each compared with the best roofs that any of them knows of its machine, device, dtype and precision.

    The memory roof of a call is the best one of all calls that move as many bytes or more. By `Rates.at`, each of those is the
    best rate of a working set of at least half as many bytes. The warning `roof unsure` is about the roof that counts now; a
    record's own warning is taken for both its roofs.
    """
    import polars as pl

    changed = ("limit_ns", "limit_fraction", *FLOPS, *BYTES, "warnings")
    columns = [*ALIKE, "flops", "bytes_moved", "throughput_ns", *changed]
    rows = records.select(columns).to_dicts()
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["flops"] is not None and row["bytes_moved"] is not None:
            groups.setdefault(tuple(row[name] for name in ALIKE), []).append(row)
    for group in groups.values():
        flops = reduce(_higher, [Roof(row[FLOPS[0]], row[FLOPS[1]], sure(row)) for row in group])
        moved = Roof(None, None, True)
        for row in sorted(group, key=lambda row: -row["bytes_moved"]):
            moved = _higher(moved, Roof(row[BYTES[0]], row[BYTES[1]], sure(row)))
            _hold(row, flops, moved)
    return records.with_columns(pl.Series(name, [row[name] for row in rows], records.schema[name]) for name in changed)


class Roof(NamedTuple):
    """A rate, the library that reached it, and whether it is sure."""

    rate: float | None
    by: str | None
    sure: bool


def _higher(one: Roof, other: Roof) -> Roof:
    rate, sure = higher((one.rate, one.sure), (other.rate, other.sure))
    return Roof(rate, one.by if rate == one.rate else other.by, sure)


def _hold(row: dict[str, Any], flops: Roof, moved: Roof) -> None:
    counted = row["flops"] if _bound_by_products(row) else 0.0  # by its own roofs, which are replaced below
    row[FLOPS[0]], row[FLOPS[1]] = flops.rate, flops.by
    row[BYTES[0]], row[BYTES[1]] = moved.rate, moved.by
    if row["throughput_ns"] is None:
        return
    found = reached(counted, row["bytes_moved"], row["throughput_ns"], flops.rate, moved.rate)
    row["limit_ns"], row["limit_fraction"] = found
    others = [warning for warning in row["warnings"] or () if not warning.startswith(UNSURE)]
    unsure = row["limit_ns"] is not None and not (flops if by_flops(row) else moved).sure
    row["warnings"] = [*others, *([ROOF_UNSURE] if unsure else [])]
