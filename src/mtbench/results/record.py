"""The record: one job's result, one row, one Parquet file. Its schema, its atomic writing, and the scan of many.

Users query these files directly, so column names and units are a contract: a change of meaning raises SCHEMA_VERSION,
a new column does not. Polars is imported inside functions, since only writing and reading need it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.paths import write_atomically

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1
FILE_NAME = "record.parquet"

STATUSES = ("ok", "mismatch", "unsupported", "oom", "timeout", "crashed", "failed", "interrupted")
"""ok: measured and verified. mismatch: a wrong answer, so no speed. unsupported: not possible here, `reason` says why.
oom, timeout, crashed, failed, interrupted: no result, `reason` says what happened."""


@dataclass
class Record:
    """One job's result. Times are nanoseconds for one call; None means not measured.

    `latency_ns` is the median over blocks of each block's median call, every call waited for; `throughput_ns` the median
    over blocks of a block's duration divided by its calls, waited for once. `*_low_ns` and `*_high_ns` bound that median
    at the confidence in `confidence`. Samples are in order of measurement, [restart][round] and for latency [call].
    """

    # what was asked for
    operator: str
    framework: str
    mode: str  # eager or compiled
    variant: str  # native, portable, stock, ...
    arm: str  # the contender's short name: framework, mode, variant and whatever else was asked of it
    device: str  # cpu or gpu; as asked for (auto) where the worker never got to say
    dtype: str
    matmul_precision: str  # highest or tf32
    batch_size: int
    seq_len: int
    kv_len: int | None
    params: str  # the operator's parameters, JSON with sorted keys
    # what it belongs to
    sweep_id: str  # one run of mtbench; arms are comparable round by round only within it
    cell_id: str  # what is held equal: operator, params, dtype, shape
    job_id: str  # the cell and the arm
    # how it went
    status: str
    reason: str | None = None
    warnings: list[str] = field(default_factory=list)
    model: str | None = None  # the preset that parameters were taken from
    contenders: list[str] = field(
        default_factory=lambda: ["framework", "operator.variant", "device", "matmul_precision"]
    )
    verify_error: float | None = None  # ||out - ref|| / ||ref||
    verify_tolerance: float | None = None
    # results
    latency_ns: float | None = None
    latency_low_ns: float | None = None
    latency_high_ns: float | None = None
    throughput_ns: float | None = None
    throughput_low_ns: float | None = None
    throughput_high_ns: float | None = None
    latency_p90_ns: float | None = None  # of single calls; only where the sample is large enough to bound it
    latency_p99_ns: float | None = None
    device_ns: float | None = None  # of one call, by the device's own clock, behind a queued backlog
    confidence: float | None = None
    restart_spread: float | None = None  # (largest - smallest) / median of the restarts' median latencies
    first_call_ns: int | None = None  # includes compilation
    warmup_ns: int | None = None  # untimed calls until steady, and until blocks are sized, over all restarts
    floor_ns: float | None = None  # the library's cheapest call, waited for; not subtracted from anything
    peak_bytes: int | None = None
    peak_kind: str | None = None  # what peak_bytes counts
    tokens: int | None = None  # that one call takes through a language model: batch_size * seq_len
    tokens_per_s: float | None = None  # by throughput_ns
    time_to_first_token_ns: float | None = None  # latency_ns of a prompt; latency_samples_ns has it call by call
    energy_joule: float | None = None  # of one call, above idle
    energy_joule_per_token: float | None = None  # the same, by batch_size * seq_len
    idle_watt: float | None = None  # what was taken off
    energy_kind: str | None = None  # what the counter counts, or why there is none
    flops: float | None = None  # of one call
    bytes_moved: float | None = None  # the least that one call must move
    flops_per_s: float | None = None  # achieved: flops by throughput_ns
    bytes_per_s: float | None = None  # achieved: bytes_moved by throughput_ns
    peak_flops_per_s: float | None = None  # the best matrix product of any arm on this device in this dtype
    peak_bytes_per_s: float | None = None  # the best at which any arm read or wrote a working set of bytes_moved
    limit_ns: float | None = None  # the shortest time that both peaks allow for flops and bytes_moved
    limit_fraction: float | None = None  # limit_ns / throughput_ns; 1 is as fast as this machine was seen to be
    # how it was measured
    outliers: int | None = None  # blocks flagged as outlying in latency; none is ever dropped
    canary_drift: float | None = (
        None  # largest trend of a fixed operator over a restart, a fraction: the machine's own drift
    )
    paired: bool | None = None  # whether the arms of the cell were measured interleaved
    rounds: int = 0  # over all restarts
    restarts: int = 0
    converged: bool | None = None
    calls_per_block: int | None = None  # latency mode
    throughput_calls: int | None = None  # calls queued per throughput block
    latency_samples_ns: list[list[list[int]]] = field(default_factory=list)
    throughput_samples_ns: list[list[float]] = field(default_factory=list)
    conditions: str = "[]"  # the machine during each visit, JSON: mtbench.machine.watch.Reading
    protocol: str = "{}"  # the settings, JSON
    seed: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    # who measured
    library_version: str | None = None
    requirement: str | None = None  # what was asked to be installed for this arm, without an address
    python_version: str | None = None  # the worker's interpreter
    device_kind: str | None = None  # cpu, cuda, rocm, mps, metal
    device_name: str | None = None
    threads: int | None = None
    blas: str | None = None
    library_details: str = "{}"  # JSON
    machine_id: str = ""
    machine: str = "{}"  # JSON: chip, cores, memory, system; nothing that names a person or a host
    mtbench_version: str = ""
    schema_version: int = SCHEMA_VERSION

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
    """Writes a record into a folder, which is made if need be; a reader sees the old file or the new one, never half."""
    import polars as pl

    columns = schema()
    frame = pl.DataFrame({name: [getattr(record, name)] for name in columns}, schema=columns, strict=True)
    write_atomically(folder / FILE_NAME, lambda file: frame.write_parquet(file, compression="zstd"))
    return folder / FILE_NAME


def find(folders: Iterable[Path]) -> list[Path]:
    """All record files below these folders, sorted, each once."""
    return sorted({path.resolve() for folder in folders for path in folder.rglob(FILE_NAME)})


def read(files: Iterable[Path]) -> "tuple[pl.DataFrame, list[str]]":
    """All records as one frame with a `path` column, and a line for each file that cannot be read.

    Files of an older schema get nulls in the columns that they lack; columns that this version does not know are left
    out. A broken file (truncated by a full disk, say) does not cost the others.
    """
    import polars as pl

    paths = list(files)
    columns = schema()
    if not paths:
        return pl.DataFrame(schema={**columns, "path": pl.String}), []

    def scan(sources: list[Path]) -> pl.DataFrame:
        return pl.scan_parquet(
            sources,
            schema=columns,
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            include_file_paths="path",
        ).collect()

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


def named(params: dict[str, Any], model: str | None) -> dict[str, Any]:
    """Parameters as they are told to people: the model that they are from stands first, and for its whole configuration."""
    return params if model is None else {"model": model} | {n: value for n, value in params.items() if n != "config"}


def to_json(value: Any) -> str:
    """JSON with sorted keys, the form in which nested facts stand in a record."""
    return json.dumps(value, sort_keys=True)


def now() -> datetime:
    return datetime.now(UTC)
