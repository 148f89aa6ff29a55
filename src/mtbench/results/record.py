"""The record: one job's result, one row, one Parquet file. Its columns, its atomic writing, and the scan of many.

Users query these files directly, so column names and units are a contract: a change of meaning raises SCHEMA_VERSION,
a new column does not. Polars is imported inside functions, since only writing and reading need it.
"""

import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.paths import write_atomically
from mtbench.results.columns import column

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 2
"""2: restarts, where version 1 said epochs. `read` gives records of version 1 the names of version 2."""

FILE_NAME = "record.parquet"

STATUSES = ("ok", "mismatch", "unsupported", "oom", "timeout", "crashed", "failed", "interrupted")
"""ok: measured and verified. mismatch: a wrong answer, so no speed. unsupported: not possible here, `reason` says why.
oom, timeout, crashed, failed, interrupted: no result, `reason` says what happened."""

CONTENDERS = ("framework", "operator.variant", "device", "matmul_precision")
"""What competes where a sweep names nothing else, and in all records that do not say."""

VERSION_1 = {"epochs": "restarts", "epoch_spread": "restart_spread"}
"""Columns of version 1, and what they are called since."""


@dataclass
class Record:
    """One job's result. Times are nanoseconds for one call; None means not measured.

    `latency_ns` is the median over blocks of each block's median call, every call waited for; `throughput_ns` the median
    over blocks of a block's duration divided by its calls, waited for once. `*_low_ns` and `*_high_ns` bound that median
    at the confidence in `confidence`. Samples are in order of measurement, [restart][round] and for latency [call].
    """

    operator: str = column("operator", "the maths under test", of="What was asked for")
    framework: str = column("framework", "the library that ran it")
    mode: str = column("mode", "eager or compiled")
    variant: str = column("variant", "the form of the operator: native, portable, stock, ...")
    arm: str = column("arm", "the contender's short name: framework, mode, variant and whatever else was asked of it")
    device: str = column("device", "cpu or gpu; as asked for (auto) where the worker never got to say")
    dtype: str = column("dtype", "of inputs and weights")
    matmul_precision: str = column("float32 products", "highest or tf32")
    batch_size: int = column("batch size", "sequences in one call")
    seq_len: int = column("sequence length", "positions of each sequence, or queries")
    kv_len: int | None = column("key length", "positions that are attended to, where they are not seq_len")
    params: str = column("parameters", "of the operator, with sorted keys", "JSON")
    sweep_id: str = column(
        "sweep", "one run; arms are comparable round by round only within it", of="What it belongs to"
    )
    cell_id: str = column("cell", "the fingerprint of what is held equal between contenders")
    job_id: str = column("job", "the fingerprint of the cell and the arm")
    status: str = column(
        "status", "ok, mismatch, unsupported, oom, timeout, crashed, failed or interrupted", of="How it went"
    )
    reason: str | None = column("reason", "why there is no result", default=None)
    warnings: list[str] = column("warnings", "what makes the numbers worth less than they look", default=[])
    model: str | None = column("model", "the preset that parameters were taken from", default=None)
    contenders: list[str] = column(
        "contenders", "the axes that compete; others are held equal", default=list(CONTENDERS)
    )
    verify_error: float | None = column("error", "of the output, relative: norm(out - ref) / norm(ref)", "error", None)
    verify_tolerance: float | None = column("tolerance", "the largest error that is allowed", "error", None)
    verify_row_error: float | None = column("row error", "of the worst row, relative to its size", "error", None)
    verify_row_tolerance: float | None = column(
        "row tolerance", "the largest row error; 3x for an element", "error", None
    )
    verify_element_error: float | None = column("element error", "of the worst value, likewise", "error", None)
    check_seed: int | None = column(
        "seed of checks", "the system's, plus the restart: of checked rows, other inputs", default=None
    )

    latency_ns: float | None = column("latency", "median over blocks of the median call", "ns", None, of="Results")
    latency_low_ns: float | None = column("latency, low", "lower bound of that median", "ns", None)
    latency_high_ns: float | None = column("latency, high", "upper bound of that median", "ns", None)
    throughput_ns: float | None = column("throughput", "median over blocks of the time per queued call", "ns", None)
    throughput_low_ns: float | None = column("throughput, low", "lower bound of that median", "ns", None)
    throughput_high_ns: float | None = column("throughput, high", "upper bound of that median", "ns", None)
    latency_p90_ns: float | None = column(
        "latency, p90", "90th percentile of single calls, if enough were timed", "ns", None
    )
    latency_p99_ns: float | None = column(
        "latency, p99", "99th percentile of single calls, if enough were timed", "ns", None
    )
    device_ns: float | None = column(
        "device time", "of one call, by the device's own clock, behind a backlog", "ns", None
    )
    confidence: float | None = column("confidence", "of the bounds; 0 where they bound nothing", "fraction", None)
    restart_spread: float | None = column("spread of restarts", "range of their medians / median", "fraction", None)
    first_call_ns: int | None = column(
        "first call", "with compilation; its disk cache as protocol.compiler_cache says", "ns", None
    )
    warmup_ns: int | None = column(
        "warm-up", "untimed calls until steady and blocks are sized, all restarts", "ns", None
    )
    floor_ns: float | None = column("floor", "the library's cheapest call, waited for; never subtracted", "ns", None)
    peak_bytes: int | None = column("peak memory", "see the kind of peak memory", "bytes", None)
    peak_kind: str | None = column("kind of peak memory", "what was counted", default=None)
    tokens: int | None = column("tokens", "that one call takes through a language model", default=None)
    tokens_per_s: float | None = column("tokens per second", "by throughput", "tokens/s", None)
    time_to_first_token_ns: float | None = column("time to first token", "the latency of a prompt", "ns", None)
    energy_joule: float | None = column("energy", "of one call, above idle", "joule", None)
    energy_joule_per_token: float | None = column("energy per token", "by batch_size * seq_len", "joule", None)
    idle_watt: float | None = column("idle power", "what was taken off", "watt", None)
    energy_kind: str | None = column("kind of energy", "what the counter counts, or why there is none", default=None)
    flops: float | None = column("work", "of one call", "FLOP", None)
    bytes_moved: float | None = column("bytes moved", "the least that one call must move", "bytes", None)
    flops_per_s: float | None = column("FLOP/s", "achieved: work by throughput", "FLOP/s", None)
    bytes_per_s: float | None = column("bytes/s", "achieved: bytes moved by throughput", "bytes/s", None)
    peak_flops_per_s: float | None = column("peak FLOP/s", "best product of any arm in this dtype here", "FLOP/s", None)
    peak_bytes_per_s: float | None = column("peak bytes/s", "best of any arm for as many bytes", "bytes/s", None)
    limit_ns: float | None = column("limit", "the shortest time that both peaks allow", "ns", None)
    limit_fraction: float | None = column("part of the limit", "limit / throughput; 1 is the limit", "fraction", None)

    outliers: int | None = column(
        "outliers", "blocks that lie far off; none is dropped", default=None, of="How it was measured"
    )
    canary_drift: float | None = column("drift", "largest trend of a fixed product in a restart", "fraction", None)
    paired: bool | None = column("interleaved", "whether the cell's arms were measured in turns", default=None)
    rounds: int = column("rounds", "over all restarts", default=0)
    restarts: int = column("restarts", "fresh starts of all workers", default=0)
    converged: bool | None = column("converged", "whether the interval is within the target", default=None)
    calls_per_block: int | None = column("samples per block", "in latency blocks", default=None)
    calls_per_sample: int | None = column(
        "calls per sample", "more than 1 where a clock's tick is too coarse", default=None
    )
    clock_tick_ns: float | None = column("clock tick", "the steps in which the worker's clock moves", "ns", None)
    throughput_calls: int | None = column("queued calls", "in each throughput block", default=None)
    latency_samples_ns: list[list[list[int]]] = column("latency samples", "[restart][round][call]", "ns", [])
    throughput_samples_ns: list[list[float]] = column("throughput samples", "[restart][round]", "ns", [])
    conditions: str = column(
        "conditions", "the machine during each visit", "JSON", "[]"
    )  # mtbench.machine.watch.Reading
    protocol: str = column("protocol", "the settings of the measurement", "JSON", "{}")
    seed: int | None = column("seed", "of orders and inputs", default=None)
    started_at: datetime | None = column("started", "UTC", default=None)
    finished_at: datetime | None = column("finished", "UTC", default=None)

    library_version: str | None = column("version", "of the library", default=None, of="What measured")
    requirement: str | None = column(
        "requirement", "what was to be installed for this arm, without address", default=None
    )
    python_version: str | None = column("Python", "of the worker", default=None)
    device_kind: str | None = column("kind of device", "cpu, cuda, rocm, mps or metal", default=None)
    device_name: str | None = column("name of the device", "as the library gives it", default=None)
    threads: int | None = column("threads", "of the library", default=None)
    blas: str | None = column("BLAS", "the matrix library", default=None)
    library_details: str = column("library's details", "whatever else it says of itself", "JSON", "{}")
    machine_id: str = column("machine's identity", "a fingerprint that names nobody", default="")
    machine: str = column("machine", "chip, cores, memory, system; no person's or host's name", "JSON", "{}")
    mtbench_version: str = column("mtbench", "the version that measured", default="")
    schema_version: int = column("schema", "the version of these columns", default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        # Polars lets wrong types and unknown statuses through silently; a record that lies about itself must not be written.
        if self.status not in STATUSES:
            raise ValueError(f"status '{self.status}' is not one of {', '.join(STATUSES)}")
        if self.status == "mismatch" and self.latency_ns is not None:
            raise ValueError("a mismatch has no speed")


def schema() -> "dict[str, pl.DataType | type[pl.DataType]]":
    """The Parquet columns, in order, as a Polars schema."""
    import polars as pl

    types: dict[Any, Any] = {
        str: pl.String,
        str | None: pl.String,
        int: pl.Int64,
        int | None: pl.Int64,
        float | None: pl.Float64,
        bool | None: pl.Boolean,
        list[str]: pl.List(pl.String),
        list[list[list[int]]]: pl.List(pl.List(pl.List(pl.Int64))),
        list[list[float]]: pl.List(pl.List(pl.Float64)),
        datetime | None: pl.Datetime("us", "UTC"),
    }
    columns = {column.name: types[column.type] for column in fields(Record)}
    return {"schema_version": columns.pop("schema_version"), "status": columns.pop("status")} | columns


def write(record: Record, folder: Path) -> Path:
    """Writes a record into a folder, which is made if need be; a reader sees the old file or the new one, never half.
    Raises OSError where that cannot be."""
    import polars as pl

    columns = schema()
    frame = pl.DataFrame({name: [getattr(record, name)] for name in columns}, schema=columns, strict=True)
    content = BytesIO()  # so that what the file system says is an OSError, and not Polars's error
    frame.write_parquet(content, compression="zstd")
    write_atomically(folder / FILE_NAME, content.getvalue())
    return folder / FILE_NAME


def find(folders: Iterable[Path]) -> list[Path]:
    """All record files below these folders, sorted, each once."""
    return sorted({path.resolve() for folder in folders for path in folder.rglob(FILE_NAME)})


def read(files: Iterable[Path]) -> "tuple[pl.DataFrame, list[str]]":
    """All records as one frame with a `path` column, and a line for each file that cannot be read.

    Files of an older schema get nulls in the columns that they lack, and today's names for yesterday's; columns that this
    version does not know are left out. A broken file (truncated by a full disk, say) does not cost the others.
    """
    import polars as pl

    paths = list(files)
    columns = schema()
    old = {name: columns[since] for name, since in VERSION_1.items()}
    if not paths:
        return pl.DataFrame(schema={**columns, "path": pl.String}), []

    def scan(sources: list[Path]) -> pl.DataFrame:
        found = pl.scan_parquet(
            sources,
            schema=columns | old,
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            include_file_paths="path",
            glob=False,  # a folder may be called run[1]
        )
        return (
            found.with_columns(
                *(pl.coalesce(since, name).alias(since) for name, since in VERSION_1.items()),
                protocol=pl.col("protocol").str.replace_all('"epochs":', '"restarts":', literal=True),
                contenders=pl.col("contenders").fill_null(pl.lit(list(CONTENDERS))),
            )
            .drop(*VERSION_1)
            .collect()
        )

    try:
        return scan(paths), []
    except (pl.exceptions.PolarsError, OSError):
        good, problems = [], []
        for path in paths:
            try:
                scan([path])
                good.append(path)
            except (pl.exceptions.PolarsError, OSError) as error:
                problems.append(f"{path}: left out, not a readable record ({str(error).splitlines()[0]})")
        if not good:
            return pl.DataFrame(schema={**columns, "path": pl.String}), problems
        return scan(good), problems


def of_rows(frame: "pl.DataFrame") -> list[Record]:
    """The rows of a frame of `read` as records, without their path. What an older record lacks is left to its default."""
    names = [each.name for each in fields(Record) if each.name in frame.columns]
    defaults = {
        each.name
        for each in fields(Record)
        if each.default not in (None, MISSING) or each.default_factory is not MISSING
    }
    return [
        Record(**{name: value for name, value in row.items() if value is not None or name not in defaults})
        for row in frame.select(names).iter_rows(named=True)
    ]


def to_json(value: Any) -> str:
    """JSON with sorted keys, the form in which nested facts stand in a record."""
    return json.dumps(value, sort_keys=True)


def now() -> datetime:
    return datetime.now(UTC)
