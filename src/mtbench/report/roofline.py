"""How far from the machine's limit: the measured roofs, each charted record under them, and a summary by operator.

After Williams, Waterman and Patterson 2009 (https://doi.org/10.1145/1498765.1498785). Roofs hold for one device, dtype and
matmul precision of a machine, so each of these has charts of its own.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from mtbench.report.pages import as_yaml
from mtbench.report.tables import THROUGHPUT, parameters, shape, telling
from mtbench.results import format, limits
from mtbench.results.format import percent

Row = dict[str, Any]

SAME_ROOF = 1.1
"""Memory roofs that differ by less are drawn as one."""

MANY = 2000
"""From so many points on each is as short as can be."""

POINT = ("label", "operator", "hollow", "intensity", "flops_per_s", "limit_fraction")
POINT_WORDS = ("params", "shape", "work", "per_call", "limit")
USED = (
    "page", "params", "model", "kv_len", "dtype", "batch_size", "seq_len", "bytes_per_s", THROUGHPUT.ns, "limit_ns", "flops",
    "peak_flops_per_s",
)  # fmt: skip
"""The columns of a record, beside those of POINT, that a point tells."""
BAR_WORDS = ("text", "cells", "range", "bound")


@dataclass(frozen=True)
class Roofs:
    """What a device reaches with a dtype: FLOP/s, and one or two (bytes/s, working set in bytes), the slowest first."""

    flops_per_s: float
    memory: list[tuple[float, float]]


@dataclass(frozen=True)
class Ground:
    """`records` that share their roofs. `points` and `bars` are the rows of the two charts, `bars` also those of the table;
    `roofs` is None where no record knows any that can be drawn."""

    heading: str
    stem: str
    records: pl.DataFrame
    roofs: Roofs | None
    points: pl.DataFrame
    bars: pl.DataFrame


def grounds(drawn: pl.DataFrame) -> list[Ground]:
    """Each machine, device, dtype and precision of which a record knows its limit. Takes charted and hollow records only; the
    latter are points alone, and in no ranking."""
    known = drawn.filter(pl.col("limit_fraction").is_not_null()).with_columns(
        intensity=pl.when(pl.col("bytes_moved") > 0).then(pl.col("flops") / pl.col("bytes_moved"))
    )
    several = known["machine_id"].n_unique() > 1
    devices = known.select("machine_id", "device", "device_index").unique()
    numbered = set(devices.group_by("machine_id", "device").len().filter(pl.col("len") > 1).drop("len").iter_rows())
    found = []
    for number, (_, own) in enumerate(known.sort(limits.ALIKE).group_by(limits.ALIKE, maintain_order=True), 1):
        first = own.row(0, named=True)
        parts = [first["machine_name"]] if several else []
        parts += [_device(first, (first["machine_id"], first["device"]) in numbered), first["dtype"]]
        parts += [] if first["matmul_precision"] == "highest" else ["TF32"]
        heading, stem = ", ".join(parts), f"roofline-{number}"
        checked = own.filter("charted")
        found.append(Ground(heading, stem, own, _roofs(own), _points(own), bars(checked)))
    return found


def _device(row: Row, numbered: bool) -> str:
    """`gpu`, or `gpu 1` where a machine has records of several: each has its own roofs."""
    index = row["device_index"]
    return f"{row['device']} {index}" if numbered and index is not None else str(row["device"])


def bars(known: pl.DataFrame) -> pl.DataFrame:
    """The median fraction of the limit over the cells of each operator and contender, nearest operator first."""
    limited = known.select("limit_ns", "flops", "peak_flops_per_s")
    bounds = pl.Series("bound", [bound(row) for row in limited.iter_rows(named=True)], dtype=pl.String)
    by_arm = (
        known.with_columns(bounds)
        .group_by("operator", "page", "label")
        .agg(
            pl.col("limit_fraction").median().alias("fraction"),
            pl.col("limit_fraction").min().alias("low"),
            pl.col("limit_fraction").max().alias("high"),
            pl.len().alias("count"),
            pl.col("bound").unique().sort().str.join(" or ").alias("bound"),
        )
    )
    nearest = pl.col("fraction").max().over("operator")
    rows = by_arm.sort(nearest, "operator", "label", descending=[True, False, False])
    words = [
        {
            "text": percent(row["fraction"]),
            "cells": str(row["count"]),
            "range": f"{percent(row['low'])} to {percent(row['high'])}",
            "bound": row["bound"],
        }
        for row in rows.iter_rows(named=True)
    ]
    said = pl.DataFrame(words, schema=dict.fromkeys(BAR_WORDS, pl.String))
    return pl.concat([rows.drop("count", "bound"), said], how="horizontal")


def bound(row: Row) -> str:
    """Which roof is the lower one for a record's work."""
    return "compute" if limits.by_flops(row) else "memory"


def _roofs(own: pl.DataFrame) -> Roofs | None:
    """The roofs to draw: of memory, the one of the largest working sets and, where it is another, the highest."""
    flops = own["peak_flops_per_s"].max()
    tops = own.select("bytes_moved", "peak_bytes_per_s").drop_nulls().sort("bytes_moved").rows()
    if flops is None or not tops:
        return None
    (large, slow), (small, fast) = tops[-1], max(tops, key=lambda top: (top[1], top[0]))
    memory = [(slow, large)] + ([(fast, small)] if fast > SAME_ROOF * slow else [])
    return Roofs(float(flops), memory)  # type: ignore[arg-type]


def _points(own: pl.DataFrame) -> pl.DataFrame:
    """One row per record that computes and moves something; without either it has no place between logarithmic axes."""
    placed = own.filter(pl.col("intensity") > 0, pl.col("flops_per_s") > 0).select(*POINT, *USED)
    told = telling(placed) if placed.height > MANY else None
    rows = [{name: _short(row[name]) for name in POINT} | _words(row, told) for row in placed.iter_rows(named=True)]
    types: dict[str, Any] = {"hollow": pl.Boolean} | dict.fromkeys(POINT[3:], pl.Float64)
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in (*POINT, *POINT_WORDS)})


def _short(value: Any) -> Any:
    """A number to as many digits as can be seen: a page may have ten thousand points."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _words(row: Row, told: dict[str, list[str]] | None) -> Row:
    """What a point tells, of its parameters those that `told` names, or all."""
    params = parameters(row)
    names = params if told is None else [name for name in told[row["page"]] if name in params]
    return {
        "params": ", ".join(f"{name} {as_yaml(params[name])}" for name in names),
        "shape": shape(row),
        "work": f"{format.rate(row['flops_per_s'], 'FLOP/s')}, {format.rate(row['bytes_per_s'], 'B/s')}",
        "per_call": f"{format.duration(row[THROUGHPUT.ns])}; at the limit {format.duration(row['limit_ns'])}",
        "limit": f"{percent(row['limit_fraction'])} of that of {bound(row)}",
    }
