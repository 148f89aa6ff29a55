"""The tables behind a report: the records without their samples, the blocks, and the results as a flat file.

Samples are most of a record, so they are reduced to one number per block while reading, some files at a time.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mtbench.errors import ConfigError
from mtbench.report.arms import labelled
from mtbench.results import cells, format, limits, newest, record, samples
from mtbench.results.comparison import Timing, timings
from mtbench.results.files import exists
from mtbench.results.machines import machine_names
from mtbench.results.newest import Chosen


@dataclass(frozen=True)
class Metric:
    """One way of timing: its columns in a record, and its names in a report."""

    name: str
    title: str
    how: str
    axis: str

    @property
    def ns(self) -> str:
        return f"{self.name}_ns"

    @property
    def low_ns(self) -> str:
        return f"{self.name}_low_ns"

    @property
    def high_ns(self) -> str:
        return f"{self.name}_high_ns"


LATENCY = Metric("latency", "Latency", "every call waited for", "median latency per call")
THROUGHPUT = Metric("throughput", "Throughput", "calls queued, waited for once", "median time per queued call")
METRICS = (LATENCY, THROUGHPUT)

SPEEDS = tuple(column for metric in METRICS for column in (metric.ns, metric.low_ns, metric.high_ns))

HELD = ("page", "held_params", "held_dtype")
"""What is held equal of operator, parameters and dtype, by `mtbench.results.cells`; an operator's page is named by it."""

MACHINE = "held_machine"
"""The machine that measured; null for what others published, which is drawn beside the measurements of every machine."""

CELL = (MACHINE, "page", "model", "held_params", "kv_len", "held_dtype", "batch_size", "seq_len")
"""The columns that are held equal between contenders."""

PLACE = CELL[1:]
"""The same, whatever the machine."""

SECTION = (MACHINE, "page", "model", "held_params", "kv_len")
"""What may not be mixed within one chart."""

ALL_DTYPES = "all dtypes"
"""Stands for the dtype of a cell in which dtypes compete."""

_FILES_AT_ONCE = 500
_ROWS_AT_ONCE = 20_000
_EMPTY = {
    "variant": "",
    "device": "",
    "matmul_precision": "",
    "arm": "",
    "mode": "",
    "params": "{}",
    "protocol": "{}",
    "conditions": "[]",
    "restarts": 0,
    "machine": "{}",
    "library_details": "{}",
    "machine_id": "",
    "mtbench_version": "",
}


@dataclass(frozen=True)
class Tables:
    """What was read. `records` has one row per job, with `row`, `path`, `label`, `contender`, `machine_name`, the columns of
    HELD, `charted`, `hollow` and `repeated`; `results` the same as a flat file; `blocks` row, metric, restart, round and ns;
    `problems` a line for each file that is no record. `left_out` counts older records, of more than can be drawn."""

    records: pl.DataFrame
    results: pl.DataFrame
    blocks: pl.DataFrame
    problems: list[str] = field(default_factory=list)
    left_out: int = 0

    @property
    def charted(self) -> pl.DataFrame:
        """The records whose speed is shown: right answers, and of each contender in each cell the newest."""
        return self.records.filter("charted")

    @property
    def drawn(self) -> pl.DataFrame:
        """Those, and unverified ones, which are drawn hollow beside them and take part in no comparison."""
        return self.records.filter(pl.col("charted") | pl.col("hollow"))

    @cached_property
    def timings(self) -> dict[str, dict[int, Timing]]:
        """What comparisons know of each record with a time and a right answer, by metric and `row`."""
        return {one.name: timings(self.records, one.name, self.blocks.filter(metric=one.name)) for one in METRICS}


def load(folders: Sequence[Path], most: int = newest.MOST) -> Tables:
    """Reads the records below these folders, the newest where they are more than `most`. Raises ConfigError where a
    folder does not exist or none holds a record."""
    for folder in folders:
        if not exists(folder):
            raise ConfigError(f"There is no folder {folder}. Give the folder of a sweep, or multirun for all of them.")
    chosen = newest.chosen(record.find(folders), most)
    problems = [relative(problem, folders) for problem in chosen.problems]

    def read() -> Iterator[pl.DataFrame]:
        for files, numbers in _portions(chosen):
            frame, unreadable = record.read(files, numbers)
            problems.extend(relative(problem, folders) for problem in unreadable)
            yield frame

    found = of(read(), folders)
    where = ", ".join(map(str, folders))
    if found is None and problems:
        raise ConfigError(f"No readable record under {where}: {problems[0]}.")
    if found is None:
        raise ConfigError(f"No records under {where}. Measure something first: python -m mtbench +experiment=quick")
    return replace(found, problems=problems, left_out=chosen.left_out)


def of(read: Iterable[pl.DataFrame], folders: Sequence[Path] = ()) -> Tables | None:
    """The tables of frames as `mtbench.results.record.read` gives them; None where these hold no record.

    Paths are told from `folders`.
    """
    frames: list[pl.DataFrame] = []
    blocks: list[pl.DataFrame] = []
    for frame in read:
        before = sum(frame.height for frame in frames)
        blocks += [
            samples.table(frame, metric.name).with_columns(pl.col("row") + before, metric=pl.lit(metric.name))
            for metric in METRICS
        ]
        reduced = frame.drop(samples.COLUMNS.values()).with_columns(
            pl.Series(
                samples.OF_TOKENS, [_tokens(texts) for texts in frame[samples.OF_TOKENS].to_list()], dtype=pl.String
            )
        )
        frames.append(reduced.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64) + before))
    if not any(frame.height for frame in frames):
        return None
    records = pl.concat(frames).with_columns(
        pl.when(pl.col("source").is_null()).then(pl.col("machine_id").fill_null("")).alias(MACHINE),
        *(pl.col(name).fill_null(value) for name, value in _EMPTY.items()),
        *(pl.when(pl.col("status") != "mismatch").then(pl.col(name)).alias(name) for name in SPEEDS),
        pl.col("path").map_elements(lambda path: relative(path, folders), return_dtype=pl.String),
    )
    marked = _marked(labelled(_held(limits.merged(_named(records)))))
    return Tables(_bounded(marked), _flat(marked), pl.concat(blocks))


def parameters(row: dict[str, Any]) -> dict[str, Any]:
    """A job's parameters, the model that they are from, and the key length, where these were given.

    The model's name stands for its configuration where that is a parameter as a whole.
    """
    return dict(_parameters(row["params"], row["model"], row["kv_len"]))


def held_parameters(section: dict[str, Any]) -> dict[str, Any]:
    """Likewise of a section: what is held equal in it."""
    return dict(_parameters(section["held_params"], section["model"], section["kv_len"]))


def telling(records: pl.DataFrame) -> dict[str, list[str]]:
    """For each page, the names of the parameters in which its jobs differ: what a row has to say."""
    columns = ("params", "model", "kv_len")
    found: dict[str, list[dict[str, Any]]] = {}
    for page, *values in set(zip(*(records[name].to_list() for name in ("page", *columns)), strict=True)):
        found.setdefault(page, []).append(parameters(dict(zip(columns, values, strict=True))))
    return {page: cells.names_that_differ(jobs) for page, jobs in found.items()}


@lru_cache(maxsize=4096)
def _parameters(params: str, model: str | None, kv_len: int | None) -> dict[str, Any]:
    found = cells.named(dict(json.loads(params)), model)
    return found if kv_len is None else found | {"kv_len": kv_len}


def shape(row: dict[str, Any]) -> str:
    """The shape and dtype of a job, or of a cell in as far as they are held equal in it."""
    keys = "" if row.get("kv_len") is None else f", keys {row['kv_len']}"
    dtype = row["dtype"] if "dtype" in row else row["held_dtype"]
    return f"batch {row['batch_size']}, sequence {row['seq_len']}{keys}" + (f", {dtype}" if dtype else "")


def _named(records: pl.DataFrame) -> pl.DataFrame:
    """The records with `machine_name`, by which a report tells machines apart."""
    pair = ("machine", "machine_id")
    known = machine_names(records.select(*pair, "source").unique().rows())
    names = [(*machine, name) for machine, name in known.items()]
    named = pl.DataFrame(names, schema=dict.fromkeys((*pair, "machine_name"), pl.String), orient="row")
    return records.join(named, on=pair, how="left", maintain_order="left")


def _held(records: pl.DataFrame) -> pl.DataFrame:
    """The records with the columns of HELD and `contender`, which names what competes beside the arm's usual axes."""
    axes = pl.col("contenders").list.join(",")
    usual = [one for one in records.select(axes).unique().to_series() if cells.as_usual({"contenders": one.split(",")})]
    plain = records.filter(axes.is_in(usual)).with_columns(
        page="operator", held_params="params", held_dtype="dtype", contender=pl.lit("")
    )
    others = records.filter(~axes.is_in(usual))
    if others.is_empty():
        return plain
    rows = []
    for _, cell in others.group_by("cell_id"):
        members = cell.drop("row").to_dicts()
        held = cells.held(members)
        for row, member in zip(cell["row"], members, strict=True):
            rows.append((row, held.operator, held.fixed, held.dtype, cells.contender(member)))
    schema = {"row": pl.Int64, **dict.fromkeys((*HELD, "contender"), pl.String)}
    return pl.concat([plain, others.join(pl.DataFrame(rows, schema=schema, orient="row"), on="row")]).sort("row")


def _flat(records: pl.DataFrame) -> pl.DataFrame:
    """One row per record, no nested columns: what a spreadsheet opens. Samples stay in the records, found by `path`."""
    return records.drop(
        "row",
        "charted",
        "hollow",
        "unverified",
        "numbered",
        "published_on",
        "contender",
        "machine_name",
        MACHINE,
        *HELD,
    ).with_columns(pl.col("warnings").list.join("; "), pl.col("contenders").list.join(", "))


def _bounded(records: pl.DataFrame) -> pl.DataFrame:
    """The records without the bounds that bound nothing: of a lone block, at a confidence of 0, both are the estimate."""
    bounds = [name for metric in METRICS for name in (metric.low_ns, metric.high_ns)]
    nothing = (pl.col("confidence") <= 0).fill_null(False)
    return records.with_columns(pl.when(~nothing).then(pl.col(name)).alias(name) for name in bounds)


def _tokens(restarts: Sequence[Sequence[Sequence[int]]] | None) -> str | None:
    """The tokens of each restart in words, a line for each; single ones are in the record alone."""
    lines = [
        f"restart {number}, median of each text: {format.durations(texts)} a token"
        for number, texts in enumerate(samples.token_medians(restarts or ()), 1)
        if texts
    ]
    return "\n".join(lines) or None


def _portions(chosen: Chosen) -> Iterator[tuple[list[Path], list[int] | None]]:
    """Files to read together, and of a file with many records the numbers of some that lie near each other."""
    for start in range(0, len(chosen.files), _FILES_AT_ONCE):
        yield chosen.files[start : start + _FILES_AT_ONCE], None
    for file, numbers in chosen.rows.items():
        start = 0
        for end in range(1, len(numbers) + 1):
            if end == len(numbers) or numbers[end] - numbers[start] >= _ROWS_AT_ONCE:
                yield [file], numbers[start:end]
                start = end


def _marked(records: pl.DataFrame) -> pl.DataFrame:
    """Marks, of each contender in each cell, the newest record with a checked answer as the one that counts.

    A newer wrong answer takes the older speed out of the charts; a newer crash says nothing about it and does not. Likewise
    of speeds without a checked answer, which are `hollow`: a label has either these or checked ones.
    """
    contest = [*CELL, "label"]
    checked = pl.col("status").is_in(["ok", "mismatch", "unverified"])
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
            hollow=pl.col("newest") & (pl.col("status") == "unverified"),
            repeated=checked & ~pl.col("newest"),
        )
        .drop("newest")
        .sort(*CELL, "label", "row")
    )


def relative(text: str, folders: Sequence[Path]) -> str:
    """A report may be passed on, so it names files from the folder that was given and not from a person's home."""
    for absolute, told in _prefixes(tuple(folders)):
        text = text.replace(absolute, told)
    return text


@lru_cache(maxsize=16)
def _prefixes(sources: tuple[Path, ...]) -> list[tuple[str, str]]:
    """What absolute paths begin with, and what stands for it; of a merged file its name alone is told."""
    found = []
    for source in sources:
        resolved = source.resolve()
        if source.is_dir():
            found.append((f"{resolved}{os.sep}", f"{source.name}{os.sep}" if source.name else ""))
        else:
            found.append((str(resolved), source.name))
    return found
