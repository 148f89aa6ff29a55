"""The record: one job's result, one row, one Parquet file. Its columns, its atomic writing, and the scan of many.

Users query these files directly, so column names and units are a contract: a change of meaning raises SCHEMA_VERSION,
a new column does not. Polars is imported inside functions, since only writing and reading need it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.paths import write_atomically
from mtbench.results.axes import CONTENDERS
from mtbench.results.columns import column, columns
from mtbench.results.files import FILE_NAME as FILE_NAME
from mtbench.results.files import find as find
from mtbench.results.files import parquet, scan
from mtbench.results.soundness import checked

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 2
"""2: restarts, where version 1 said epochs. `read` gives records of version 1 the names of version 2."""

STATUSES = ("ok", "mismatch", "unsupported", "oom", "timeout", "crashed", "failed", "interrupted", "unverified")
"""ok: measured and verified. mismatch: a wrong answer, so no speed. unsupported: not possible here, `reason` says why.
oom, timeout, crashed, failed, interrupted: no result, `reason` says what happened. unverified: a speed without a checked
answer, of others' figures (`source`) or of what gives no answer to check; in no verdict, and never ranked with `ok`."""

MEASURED = ("ok", "unverified")
"""Statuses of a job that has a speed."""

VERSION_1 = {"epochs": "restarts", "epoch_spread": "restart_spread"}
"""Columns of version 1, and what they are called since."""


@dataclass
class Record:
    """One job's result. Times are nanoseconds for one call; None means not measured.

    In a latency block every call is waited for; its value is the median call. In a throughput block calls are queued and
    waited for once; its value is the duration divided by the number of calls. `latency_ns` and `throughput_ns` are medians over
    restarts of the median of each restart's blocks. `*_low_ns` and `*_high_ns` bound them at the confidence in `confidence`.
    Samples are in order of measurement: [restart][round], and for latency [call].
    """

    operator: str = column("operator", "name of the measured operator", of="What was asked for")
    framework: str = column("framework", "library that ran it")
    mode: str = column("mode", "eager or compiled")
    variant: str = column("variant", "implementation of the operator: native, portable, stock, ...")
    arm: str = column("arm", "short name of the contender: framework, mode, variant, and other settings that compete")
    device: str = column("device", "cpu or gpu; auto if the worker ended before it could report it, or asked a server")
    dtype: str = column("dtype", "data type of inputs and weights")
    matmul_precision: str = column("float32 products", "precision of float32 matrix products: highest or tf32")
    batch_size: int = column("batch size", "number of sequences in one call")
    seq_len: int = column("sequence length", "positions in each sequence; in attention, the number of queries")
    kv_len: int | None = column("key length", "number of keys, if not seq_len; of causal_lm, tokens in the cache")
    params: str = column("parameters", "parameters of the operator, keys sorted", "JSON")
    sweep_id: str = column(
        "sweep",
        "identity of one run; only arms of the same sweep can be compared round by round",
        of="What it belongs to",
    )
    cell_id: str = column("cell", "fingerprint of everything that contenders share")
    job_id: str = column("job", "fingerprint of cell and arm")
    status: str = column(
        "status",
        "ok, mismatch, unsupported, oom, timeout, crashed, failed, interrupted, or unverified: a speed, but no checked answer",
        of="How it went",
    )
    reason: str | None = column("reason", "why there is no result, if there is none", default=None)
    warnings: list[str] = column("warnings", "reasons to trust these numbers less", default=[])
    model: str | None = column("model", "model preset that set the parameters", default=None)
    contenders: list[str] = column(
        "contenders", "axes that compete; all other axes are held equal", default=list(CONTENDERS)
    )
    verify_error: float | None = column(
        "error", "relative error of the output: norm(out - ref) / norm(ref)", "error", None
    )
    verify_tolerance: float | None = column("tolerance", "largest error allowed", "error", None)
    verify_row_error: float | None = column("row error", "relative error of the worst row of the output", "error", None)
    verify_row_tolerance: float | None = column(
        "row tolerance",
        "largest row error allowed; an element may have three times as much, or more among many",
        "error",
        None,
    )
    verify_element_error: float | None = column(
        "element error", "relative error of the worst element of the output", "error", None
    )
    rounding_error: float | None = column(
        "rounding error", "of quantised weights: norm(logits - 16-bit logits) / norm(16-bit logits)", "error", None
    )
    rounding_positions: int | None = column(
        "positions", "number of positions that rounding_error and the next two columns are computed from", default=None
    )
    kl_divergence_nats: float | None = column(
        "KL divergence", "of a quantised checkpoint: KL(16-bit || quantised) of the next token, mean, in nats", "", None
    )
    top1_agreement: float | None = column(
        "top-1 agreement", "of a quantised checkpoint: positions with the same likeliest token", "fraction", None
    )
    check_seed: int | None = column(
        "seed of checks", "random seed of the checks; each restart adds its number", default=None
    )

    latency_ns: float | None = column(
        "latency",
        "time of one call that is waited for: median over restarts of the median of its blocks",
        "ns",
        None,
        of="Results",
    )
    latency_low_ns: float | None = column("latency, low", "lower bound of the latency", "ns", None)
    latency_high_ns: float | None = column("latency, high", "upper bound of the latency", "ns", None)
    throughput_ns: float | None = column(
        "throughput", "time per call when calls are queued and waited for once: median as for latency", "ns", None
    )
    throughput_low_ns: float | None = column("throughput, low", "lower bound of the throughput time", "ns", None)
    throughput_high_ns: float | None = column("throughput, high", "upper bound of the throughput time", "ns", None)
    latency_p90_ns: float | None = column(
        "latency, p90", "90th percentile of single calls, if enough were timed", "ns", None
    )
    latency_p99_ns: float | None = column(
        "latency, p99", "99th percentile of single calls, if enough were timed", "ns", None
    )
    device_ns: float | None = column(
        "device time", "time of one call by the device's own clock, with more calls queued", "ns", None
    )
    confidence: float | None = column(
        "confidence", "confidence of the bounds; 0 if there were too few blocks for bounds", "fraction", None
    )
    restart_spread: float | None = column(
        "spread of restarts", "(largest - smallest median of a restart) / their median", "fraction", None
    )
    earlier_spread: float | None = column(
        "earlier spread", "of restarts in earlier sweeps: standard deviation; the bounds use it", "fraction", None
    )
    earlier_df: float | None = column("earlier weight", "degrees of freedom of earlier_spread, at most 6", default=None)
    earlier_ratio_spread: float | None = column(
        "earlier spread of ratios", "the same for ratios of two arms; p values do not use it", "fraction", None
    )
    earlier_ratio_df: float | None = column("earlier weight of ratios", "the same for ratios", default=None)
    first_call_ns: int | None = column(
        "first call", "time of the first call, with compilation; protocol.compiler_cache says if cached", "ns", None
    )
    warmup_ns: int | None = column(
        "warm-up", "time of untimed calls before measuring, until times are steady, over all restarts", "ns", None
    )
    floor_ns: float | None = column("floor", "latency of the library's cheapest call; never subtracted", "ns", None)
    peak_bytes: int | None = column(
        "peak memory", "largest amount of memory in use; peak_kind says what is counted", "bytes", None
    )
    peak_kind: str | None = column("kind of peak memory", "what peak_bytes counts on this device", default=None)
    growth_bytes: float | None = column(
        "memory growth", "memory that each call leaves behind, over protocol.growth calls", "bytes", None
    )
    tokens: int | None = column("tokens", "tokens that one call of a language model processes, or makes", default=None)
    tokens_per_s: float | None = column("tokens per second", "tokens / throughput time", "tokens/s", None)
    time_to_first_token_ns: float | None = column(
        "time to first token", "latency of a whole prompt; of a text, until its first token", "ns", None
    )
    decode_tokens_per_s: float | None = column(
        "decode tokens/s", "of a text, the rate of all tokens but the first", "tokens/s", None
    )
    energy_joule: float | None = column("energy", "energy of one call, idle power subtracted", "joule", None)
    energy_joule_per_token: float | None = column("energy per token", "energy / (batch_size * seq_len)", "joule", None)
    idle_watt: float | None = column("idle power", "idle power that was subtracted", "watt", None)
    energy_kind: str | None = column(
        "kind of energy", "what the energy counter counts, or why energy was not measured", default=None
    )
    flops: float | None = column("work", "floating-point operations of one call", "FLOP", None)
    bytes_moved: float | None = column("bytes moved", "bytes that one call must read and write at least", "bytes", None)
    flops_per_s: float | None = column("FLOP/s", "achieved rate: work / throughput time", "FLOP/s", None)
    bytes_per_s: float | None = column("bytes/s", "achieved rate: bytes moved / throughput time", "bytes/s", None)
    peak_flops_per_s: float | None = column(
        "peak FLOP/s", "best rate of matrix products in this dtype on this machine, any library", "FLOP/s", None
    )
    peak_bytes_per_s: float | None = column(
        "peak bytes/s", "best measured rate for moving this many bytes on this machine, any library", "bytes/s", None
    )
    peak_flops_set_by: str | None = column(
        "peak FLOP/s of", "library that reached the peak FLOP/s, in this or an earlier sweep", default=None
    )
    peak_bytes_set_by: str | None = column(
        "peak bytes/s of", "library that reached the peak bytes/s, in this or an earlier sweep", default=None
    )
    limit_ns: float | None = column("limit", "shortest time that both peak rates allow", "ns", None)
    limit_fraction: float | None = column(
        "part of the limit", "limit / throughput time; 1 means at the limit", "fraction", None
    )

    outliers: int | None = column(
        "outliers", "number of blocks far from the others; none is dropped", default=None, of="How it was measured"
    )
    canary_drift: float | None = column(
        "drift", "largest change of the canary (a fixed product) over a restart", "fraction", None
    )
    paired: bool | None = column("interleaved", "whether the arms of the cell took turns", default=None)
    rounds: int = column("rounds", "number of rounds over all restarts", default=0)
    restarts: int = column("restarts", "number of fresh starts of all workers", default=0)
    converged: bool | None = column(
        "converged", "whether the interval became as narrow as protocol.target", default=None
    )
    calls_per_block: int | None = column("calls per block", "calls in each latency block", default=None)
    calls_per_sample: int | None = column(
        "calls per sample", "calls timed together; more than 1 where the clock's tick is too coarse", default=None
    )
    clock_tick_ns: float | None = column("clock tick", "smallest step of the worker's clock", "ns", None)
    throughput_calls: int | None = column("queued calls", "calls in each throughput block", default=None)
    latency_samples_ns: list[list[list[int]]] = column(
        "latency samples", "time of each call: for each restart, for each round, a list", "ns", []
    )
    throughput_samples_ns: list[list[float]] = column(
        "throughput samples", "time per call of each block: for each restart, a list of its rounds", "ns", []
    )
    token_samples_ns: list[list[list[int]]] = column(
        "token samples",
        "of texts, time of each token, as [restart][call][token], first with prompt; of servers, first and mean of others",
        "ns",
        [],
    )
    conditions: str = column(
        "conditions", "state of the machine during each visit", "JSON", "[]"
    )  # mtbench.machine.watch.Reading
    protocol: str = column("protocol", "settings of the measurement", "JSON", "{}")
    seed: int | None = column("seed", "random seed of orders and inputs", default=None)
    started_at: datetime | None = column("started", "start of measuring, UTC", default=None)
    finished_at: datetime | None = column("finished", "end of measuring, UTC", default=None)

    setup: str | None = column(
        "set-up", "settings of compiler and process, as in the arm's name", default=None, of="What measured"
    )
    asked_settings: str = column(
        "settings asked for", "settings of compiler, threads, environment and library, in full", "JSON", "{}"
    )
    compiled_with: str = column(
        "compiled with", "options that the library's compiler was given in this job", "JSON", "{}"
    )
    device_index: int | None = column(
        "number of the GPU", "number of the GPU, from 0, if one was asked for", default=None
    )
    library_version: str | None = column("version", "version of the library that ran", default=None)
    requirement: str | None = column(
        "requirement", "requested version (framework.requirement), without any address", default=None
    )
    python_version: str | None = column("Python", "version of the worker's Python", default=None)
    device_kind: str | None = column("kind of device", "cpu, cuda, rocm, mps, metal or server", default=None)
    device_name: str | None = column(
        "name of the device", "name of the device, as the library reports it", default=None
    )
    gpu_id: str | None = column(
        "GPU's identity", "anonymous fingerprint of the NVIDIA card that was used", default=None
    )
    threads: int | None = column("threads", "number of threads the library uses", default=None)
    blas: str | None = column("BLAS", "matrix library used on the CPU", default=None)
    library_details: str = column(
        "library's details", "other facts that the library reports about its build", "JSON", "{}"
    )
    machine_id: str = column("machine's identity", "anonymous fingerprint of the machine", default="")
    machine: str = column("machine", "chip, cores, memory, system; no user or host name", "JSON", "{}")
    engine: str = column("engine", "what ran the sweep: local, slurm or ray", default="local")
    engine_job: str | None = column(
        "engine's job", "name of the job in the engine, as SLURM or Ray has it", default=None
    )
    shard: int | None = column("shard", "number of the part of the sweep, if it was cut", default=None)
    side_by_side: int = column(
        "side by side", "parts of the sweep that ran on this machine at the same time; 1: alone", default=1
    )
    source: str | None = column(
        "source", "tool that published these figures, if mtbench did not measure them", default=None
    )
    mtbench_version: str = column("mtbench", "version of mtbench that measured", default="")
    schema_version: int = column("schema", "version of this set of columns", default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        # Polars lets wrong types and unknown statuses through silently; a record that lies about itself must not be written.
        if self.status not in STATUSES:
            raise ValueError(f"status '{self.status}' is not one of {', '.join(STATUSES)}")
        if self.status == "mismatch" and self.latency_ns is not None:
            raise ValueError("a mismatch has no speed")
        if self.source is not None and self.status == "ok":
            raise ValueError("figures that others published are not verified")


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
    known = {each.name: types[each.type] for each in fields(Record)}
    return {"schema_version": known.pop("schema_version"), "status": known.pop("status")} | known


def write(record: Record, folder: Path) -> Path:
    """Writes a record into a folder, which is made if need be; a reader sees the old file or the new one, never half. Raises
    OSError where it cannot be written."""
    types = schema()
    write_atomically(folder / FILE_NAME, parquet({name: [getattr(record, name)] for name in types}, types))
    return folder / FILE_NAME


def read(files: Iterable[Path], numbers: Sequence[int] | None = None) -> "tuple[pl.DataFrame, list[str]]":
    """All records as one frame with a `path` column, and a line for each file that cannot be read or holds what is no record.

    A file may hold many records; of a single one only the rows of these `numbers` are read. Records of an older schema get
    nulls in the columns that they lack, and today's names of columns; columns that this version does not know are left out. A
    broken file, or another program's, does not cost the others: see `mtbench.results.soundness`.
    """
    import polars as pl

    known = schema()
    old = {name: known[since] for name, since in VERSION_1.items()}
    found, problems = scan(files, known | old, numbers)
    today = found.with_columns(
        *(pl.coalesce(since, name).alias(since) for name, since in VERSION_1.items()),
        protocol=pl.col("protocol").str.replace_all('"epochs":', '"restarts":', literal=True),
        contenders=pl.col("contenders").fill_null(pl.lit(list(CONTENDERS))),
    )
    sound, unsound = checked(today.drop(*VERSION_1), list(columns(Record)), STATUSES, SCHEMA_VERSION)
    return sound, problems + unsound


def of_rows(frame: "pl.DataFrame") -> list[Record]:
    """The rows of a frame of `read` as records, without their path. What an older record lacks is left to its default."""
    known = {each.name: each for each in fields(Record) if each.name in frame.columns}
    found = {name: frame[name].to_list() for name in known}
    for name, each in known.items():
        if frame[name].null_count() and each.default_factory is not MISSING:
            found[name] = [each.default_factory() if value is None else value for value in found[name]]
        elif frame[name].null_count() and each.default not in (None, MISSING):
            found[name] = [each.default if value is None else value for value in found[name]]
    return [Record(**dict(zip(known, values, strict=True))) for values in zip(*found.values(), strict=True)]


def now() -> datetime:
    return datetime.now(UTC)
