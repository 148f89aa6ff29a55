"""The rows that charts draw: a mark each, with the words of its tooltip."""

import math
from typing import Any

import polars as pl

from mtbench.report.arms import device_name, machine_name
from mtbench.report.tables import LATENCY, THROUGHPUT, Metric
from mtbench.results import format
from mtbench.results.verdicts import VERDICTS

Row = dict[str, Any]

ALL_DTYPES = "all dtypes"
"""Stands for the dtype of a cell in which dtypes compete."""

POINT = ("label", "dtype", "batch_size", "seq_len", "ns", "low_ns", "high_ns")
POINT_WORDS = ("shape", "latency", "throughput", "work", "rounds", "status", "versions", "machine")
CELL_WORDS = ("shape", "ratio_text", "bounds", "evidence")


def points(charted: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """One row per contender and cell that has this metric. Takes charted records only."""
    timed = charted.filter(pl.col(metric.ns).is_not_null())
    rows = [
        {name: row[name] for name in POINT[:4]}
        | {
            "dtype": row["held_dtype"] or ALL_DTYPES,
            "ns": row[metric.ns],
            "low_ns": row[metric.low_ns],
            "high_ns": row[metric.high_ns],
        }
        | _point_words(row, metric)
        for row in timed.iter_rows(named=True)
    ]
    numbers = {
        "batch_size": pl.Int64,
        "seq_len": pl.Int64,
        "ns": pl.Float64,
        "low_ns": pl.Float64,
        "high_ns": pl.Float64,
    }
    return pl.DataFrame(rows, schema={name: numbers.get(name, pl.String) for name in (*POINT, *POINT_WORDS)})


def cells(ratios: pl.DataFrame) -> pl.DataFrame:
    """One row per ordered pair of contenders and cell: `mtbench.report.ratios.ratios` with its words."""
    rows = [_cell_words(row) for row in ratios.iter_rows(named=True)]
    words = pl.DataFrame(rows, schema=dict.fromkeys(CELL_WORDS, pl.String))
    dtype = pl.col("held_dtype").fill_null(ALL_DTYPES).alias("dtype")
    kept = ratios.select("a", "b", dtype, "batch_size", "seq_len", "ratio", "verdict")
    return pl.concat([kept, words], how="horizontal")


def overview(summary: pl.DataFrame) -> pl.DataFrame:
    """One row per operator and ordered pair of contenders: `mtbench.report.ratios.summary` with its words."""
    rows = [
        {
            "ratio_text": format.ratio(row["ratio"]),
            "note": f"{row['cells']} cell{'' if row['cells'] == 1 else 's'}",
            "verdicts": ", ".join(f"{row[name]} {name}" for name in VERDICTS if row[name]),
        }
        for row in summary.iter_rows(named=True)
    ]
    words = pl.DataFrame(rows, schema={"ratio_text": pl.String, "note": pl.String, "verdicts": pl.String})
    return pl.concat([summary.select(pl.col("page").alias("operator"), "a", "b", "ratio"), words], how="horizontal")


def shape(row: Row) -> str:
    keys = "" if row.get("kv_len") is None else f", keys {row['kv_len']}"
    dtype = row["dtype"] if "dtype" in row else row["held_dtype"]  # of a job, or of a cell
    return f"batch {row['batch_size']}, sequence {row['seq_len']}{keys}" + (f", {dtype}" if dtype else "")


def _point_words(row: Row, metric: Metric) -> Row:
    seconds = row[metric.ns] / 1e9
    work = [
        format.rate(amount / seconds, unit)
        for amount, unit in ((row["flops"], "FLOP/s"), (row["bytes_moved"], "B/s"))
        if amount
    ]
    if row["tokens"]:
        work.append(format.tokens(row["tokens"] / seconds))
    per_second = row[THROUGHPUT.ns] and f"{format.significant(1e9 / row[THROUGHPUT.ns])} calls/s"
    queued = format.interval(row[THROUGHPUT.ns], row[THROUGHPUT.low_ns], row[THROUGHPUT.high_ns], row["confidence"])
    versions = [
        f"{row['framework']} {row['library_version'] or ''}".strip(),
        f"mtbench {row['mtbench_version']}".strip(),
    ]
    return {
        "shape": shape(row),
        "latency": format.interval(row[LATENCY.ns], row[LATENCY.low_ns], row[LATENCY.high_ns], row["confidence"]),
        "throughput": f"{queued} per call, {per_second}" if per_second else queued,
        "work": ", ".join(work) or format.NOTHING,
        "rounds": f"{row['rounds']} in {row['restarts']} restarts",
        "status": row["status"] if row["converged"] is not False else f"{row['status']}, not converged",
        "versions": ", ".join(versions),
        "machine": f"{machine_name(row['machine'], row['machine_id'])}, {device_name(row)}",
    }


def _cell_words(row: Row) -> Row:
    bounds = format.NOTHING
    if row["low"] is not None:
        confidence = format.percent(row["confidence"], 3)
        bounds = f"{format.ratio(row['ratio'], row['low'], row['high'])} at {confidence} confidence"
    evidence = f"not interleaved: measured {row['reason']}"
    if row["interleaved"]:
        evidence = f"{row['pairs']} paired blocks, Holm-adjusted p = {format.p_value(row['p_value'])}"
        detectable = row["smallest_detectable"]
        if row["verdict"] == "inconclusive" and math.isfinite(detectable):
            evidence += f"; would show a difference of {format.percent(detectable)}"
    return {"shape": shape(row), "ratio_text": format.ratio(row["ratio"]), "bounds": bounds, "evidence": evidence}
