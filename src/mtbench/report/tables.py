"""The tables behind a report: the records without their samples, the blocks, and the results as a flat file.

Samples are most of a record, so they are reduced to one number per block while reading, some files at a time.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mtbench.errors import ConfigError
from mtbench.report.arms import labelled
from mtbench.results import record


@dataclass(frozen=True)
class Metric:
    """One way of timing: its columns in a record, and its names in a report."""

    name: str
    title: str
    how: str
    axis: str
    samples: str

    @property
    def ns(self) -> str:
        return f"{self.name}_ns"

    @property
    def low_ns(self) -> str:
        return f"{self.name}_low_ns"

    @property
    def high_ns(self) -> str:
        return f"{self.name}_high_ns"


LATENCY = Metric("latency", "Latency", "every call waited for", "median latency per call", "latency_samples_ns")
THROUGHPUT = Metric(
    "throughput", "Throughput", "calls queued, waited for once", "median time per queued call", "throughput_samples_ns"
)
METRICS = (LATENCY, THROUGHPUT)

SPEEDS = tuple(column for metric in METRICS for column in (metric.ns, metric.low_ns, metric.high_ns))

CELL = ("operator", "model", "params", "kv_len", "dtype", "batch_size", "seq_len")
"""The columns that are held equal between contenders."""

SECTION = ("operator", "model", "params", "kv_len")
"""What may not be mixed within one chart."""

_FILES_AT_ONCE = 200
_EMPTY = {
    "variant": "",
    "device": "",
    "matmul_precision": "",
    "arm": "",
    "mode": "",
    "params": "{}",
    "protocol": "{}",
    "machine": "{}",
    "library_details": "{}",
    "machine_id": "",
    "mtbench_version": "",
}


@dataclass(frozen=True)
class Tables:
    """What was read. `records` has one row per job, with `row`, `path`, `label`, `charted` and `repeated`; `results` the
    same as a flat file; `blocks` row, metric, restart, round and ns; `problems` a line for each file that is no record."""

    records: pl.DataFrame
    results: pl.DataFrame
    blocks: pl.DataFrame
    problems: list[str]

    @property
    def charted(self) -> pl.DataFrame:
        """The records whose speed is shown: right answers, and of each contender in each cell the newest."""
        return self.records.filter("charted")


def load(folders: Sequence[Path]) -> Tables:
    """Reads every record below these folders. Raises ConfigError where a folder does not exist or none holds a record."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"There is no folder {folder}. Give the folder of a sweep, or multirun for all of them.")
    frames: list[pl.DataFrame] = []
    blocks: list[pl.DataFrame] = []
    problems: list[str] = []
    for files in _portions(record.find(folders)):
        frame, unreadable = record.read(files)
        frame = frame.with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("row") + sum(frame.height for frame in frames)
        )
        blocks.append(_blocks(frame))
        frames.append(frame.drop(metric.samples for metric in METRICS))
        problems += unreadable
    where = ", ".join(map(str, folders))
    problems = [_relative(problem, folders) for problem in problems]
    if not any(frame.height for frame in frames):
        if problems:
            raise ConfigError(f"No readable record under {where}: {problems[0]}.")
        raise ConfigError(f"No records under {where}. Measure something first: python -m mtbench +experiment=quick -m")
    records = pl.concat(frames).with_columns(
        *(pl.col(name).fill_null(value) for name, value in _EMPTY.items()),
        *(pl.when(pl.col("status") != "mismatch").then(pl.col(name)).alias(name) for name in SPEEDS),
        pl.col("path").map_elements(lambda path: _relative(path, folders), return_dtype=pl.String),
    )
    marked = _marked(labelled(records))
    return Tables(_bounded(marked), _flat(marked), pl.concat(blocks), problems)


def sections(records: pl.DataFrame) -> list[dict[str, Any]]:
    """The distinct parameter sets of one operator, as rows of SECTION, in a readable order."""
    found = records.select(*SECTION).unique().to_dicts()
    return sorted(found, key=lambda s: ([_sortable(v) for v in parameters(s).values()], s["params"]))


def parameters(section: dict[str, Any]) -> dict[str, Any]:
    """An operator's parameters, the model that they are from, and the key length, where these were given.

    The model's name stands for its configuration where that is a parameter as a whole.
    """
    params = record.named(dict(json.loads(section["params"])), section["model"])
    return params if section["kv_len"] is None else params | {"kv_len": section["kv_len"]}


def differing(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the parameters in which some of these sets differ: what a heading has to say."""
    names = {name for params in sets for name in params}
    return sorted(name for name in names if len({json.dumps(params.get(name)) for params in sets}) > 1)


def of_section(frame: pl.DataFrame, section: dict[str, Any]) -> pl.DataFrame:
    return frame.filter(*(pl.col(name).eq_missing(pl.lit(section[name])) for name in SECTION))


def _flat(records: pl.DataFrame) -> pl.DataFrame:
    """One row per record, no nested columns: what a spreadsheet opens. Samples stay in the records, found by `path`."""
    return records.drop("row", "charted").with_columns(pl.col("warnings").list.join("; "))


def _bounded(records: pl.DataFrame) -> pl.DataFrame:
    """The records without the bounds that bound nothing: of a lone block, at a confidence of 0, both are the estimate."""
    bounds = [name for metric in METRICS for name in (metric.low_ns, metric.high_ns)]
    nothing = (pl.col("confidence") <= 0).fill_null(False)
    return records.with_columns(pl.when(~nothing).then(pl.col(name)).alias(name) for name in bounds)


def _portions(files: list[Path]) -> Iterator[list[Path]]:
    return (files[start : start + _FILES_AT_ONCE] for start in range(0, len(files), _FILES_AT_ONCE))


def _blocks(frame: pl.DataFrame) -> pl.DataFrame:
    """Each block's statistic: the median of its calls (latency), or its duration over its calls (throughput)."""
    parts = []
    for metric in METRICS:
        rounds = (
            frame.select("row", block=metric.samples)
            .explode("block")
            .with_columns(restart=pl.int_range(pl.len()).over("row"))
            .explode("block")
            .with_columns(round=pl.int_range(pl.len()).over("row", "restart"))
        )
        nested = isinstance(rounds.schema["block"], pl.List)
        statistic = pl.col("block").list.median() if nested else pl.col("block")
        parts.append(
            rounds.select("row", pl.lit(metric.name).alias("metric"), "restart", "round", ns=statistic).drop_nulls()
        )
    return pl.concat(parts)


def _marked(records: pl.DataFrame) -> pl.DataFrame:
    """Marks, of each contender in each cell, the newest record with a checked answer as the one that counts.

    A newer wrong answer takes the older speed out of the charts; a newer crash says nothing about it and does not.
    """
    contest = [*CELL, "label"]
    checked = pl.col("status").is_in(["ok", "mismatch"])
    newest = (
        records.filter(checked)
        .sort("finished_at", "row", nulls_last=False)
        .unique(contest, keep="last", maintain_order=True)
        .select("row", newest=pl.lit(True))
    )
    return (
        records.join(newest, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("newest").fill_null(False))
        .with_columns(
            charted=pl.col("newest") & (pl.col("status") == "ok"),
            repeated=checked & ~pl.col("newest"),
        )
        .drop("newest")
        .sort("operator", "model", "params", "kv_len", "dtype", "batch_size", "seq_len", "label", "row")
    )


def _relative(text: str, folders: Sequence[Path]) -> str:
    """A report may be passed on, so it names files from the folder that was given and not from a person's home."""
    for folder in folders:
        text = text.replace(f"{folder.resolve()}{os.sep}", f"{folder.name}{os.sep}" if folder.name else "")
    return text


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, (int, float))
    return (not number, float(value) if number else 0.0, str(value))
