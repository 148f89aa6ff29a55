"""Figures that others published, as records: with their source, without verification, and so never in a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mtbench import plain
from mtbench.errors import ConfigError
from mtbench.plain import to_json
from mtbench.results.estimates import interval
from mtbench.results.limits import per_second
from mtbench.results.record import Record

DIGITS = 10
"""The length of the fingerprints of a cell, a job and a machine."""

FLOATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class File:
    """A file to import. `text` is what it holds; `beside` finds the text of a file in the same folder."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "File":
        """Raises ConfigError where it cannot be read as text."""
        try:
            return cls(path, path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}.") from error

    def beside(self, name: str) -> str | None:
        path = self.path.with_name(name)
        return path.read_text(encoding="utf-8-sig") if path.is_file() else None


class Unreadable(Exception):
    """A file of a known format that does not hold what it should; the message says what and where."""


WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading raises where a value is missing, of another kind, or out of range."""


@dataclass(frozen=True)
class Figure:
    """One figure as it was published. Times are nanoseconds for one call.

    `source` names the tool, `sweep` what was published together. `restarts_ns` are the times of single calls by process;
    without any, `latency_ns` is all that is known, with bounds where some were published.
    """

    source: str
    sweep: str
    operator: str
    framework: str
    params: Mapping[str, Any]
    dtype: str
    seq_len: int
    machine: Mapping[str, Any]
    device: str
    latency_ns: float | None = None
    restarts_ns: Sequence[Sequence[float]] = ()
    bounds_ns: tuple[float, float] | None = None
    confidence: float | None = None
    mode: str = "eager"
    setup: str | None = None
    batch_size: int = 1
    kv_len: int | None = None
    model: str | None = None
    tokens: int | None = None
    device_kind: str | None = None
    device_name: str | None = None
    threads: int | None = None
    library_version: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    python_version: str | None = None
    peak_bytes: int | None = None
    at: datetime | None = None
    remarks: Sequence[str] = ()

    def record(self) -> Record:
        """The figure as a record. Raises Unreadable where it holds no time above 0."""
        cell = {
            "operator": self.operator,
            "params": dict(self.params),
            "model": self.model,
            "dtype": self.dtype,
            "shape": [self.batch_size, self.seq_len, self.kv_len],
        }
        arm = self.framework if self.mode == "eager" else f"{self.framework}_{self.mode}"
        arm = "-".join([arm, *([self.setup.replace(" ", "-")] if self.setup else [])])
        latency, bounds, confidence = self._time()
        low, high = bounds or (None, None)
        machine_id = plain.fingerprint(dict(self.machine), DIGITS)
        how = [self.device, self.threads, self.library_version, dict(self.details), self.at and self.at.isoformat()]
        job = {"source": self.source, "sweep": self.sweep, "machine": machine_id, "arm": arm, "cell": cell, "how": how}
        samples = [[[round(ns)] for ns in values] for values in self.restarts_ns]
        return Record(
            operator=self.operator,
            framework=self.framework,
            mode=self.mode,
            variant="native",
            arm=arm,
            device=self.device,
            dtype=self.dtype,
            matmul_precision="",
            batch_size=self.batch_size,
            seq_len=self.seq_len,
            kv_len=self.kv_len,
            params=to_json(dict(self.params)),
            sweep_id=f"{self.source} {self.sweep}",
            cell_id=plain.fingerprint({"source": self.source, "cell": cell}, DIGITS),
            job_id=plain.fingerprint(job, DIGITS),
            status="unverified",
            reason=f"published by {self.source}, not measured by mtbench: no answer was checked",
            warnings=list(self.remarks),
            model=self.model,
            latency_ns=latency,
            latency_low_ns=low,
            latency_high_ns=high,
            confidence=confidence,
            peak_bytes=self.peak_bytes,
            tokens=self.tokens,
            tokens_per_s=None if self.tokens is None else per_second(self.tokens, latency),
            paired=False,
            rounds=sum(map(len, samples)),
            restarts=len(samples),
            latency_samples_ns=samples,
            setup=self.setup,
            library_version=self.library_version,
            library_details=to_json(dict(self.details)),
            python_version=self.python_version,
            device_kind=self.device_kind or self.device,
            device_name=self.device_name,
            threads=self.threads,
            machine_id=machine_id,
            machine=to_json(dict(self.machine)),
            source=self.source,
            started_at=self.at,
            finished_at=self.at,
        )

    def _time(self) -> tuple[float, tuple[float, float] | None, float | None]:
        """The time with its bounds and their confidence, by the rule of our own times where there are samples."""
        values = [ns for values in self.restarts_ns for ns in values]
        known = values or ([] if self.latency_ns is None else [self.latency_ns])
        if not known or not all(0 < ns < float("inf") for ns in known):
            raise Unreadable(f"{self.operator} {self.dtype}: no time above 0")
        if len(values) < 2:
            return known[0], self.bounds_ns, self.confidence
        found = interval([[[ns] for ns in values] for values in self.restarts_ns], 0.95)
        return found.estimate, (found.low, found.high), found.confidence


def merged(figures: Sequence[Figure]) -> list[Figure]:
    """Figures of one thing as one figure, each of them a sample: a file may hold a cell twice."""
    groups: dict[str, list[Figure]] = {}
    for one in figures:
        groups.setdefault(repr(replace(one, latency_ns=None)), []).append(one)
    return [_together(same) for same in groups.values()]


def _together(same: Sequence[Figure]) -> Figure:
    first, *others = same
    if not others:
        return first
    times = [one.latency_ns for one in same if one.latency_ns is not None]
    remark = f"published {len(same)} times in one file: each counts as a sample"
    return replace(first, latency_ns=None, restarts_ns=[times], remarks=(*first.remarks, remark))


def dtype(name: str) -> str:
    """A data type by our name where there is one: `F16` is float16, `Q4_K - Medium` q4_k_m."""
    text = name.strip().lower().removeprefix("mostly ").removeprefix("all ")
    for long, short in ((" - medium", "_m"), (" - small", "_s"), (" - large", "_l")):
        text = text.replace(long, short)
    return FLOATS.get(text, text.partition(" - ")[0].replace(" ", "_") or "unknown")
