"""`mtbench share --check`: what a shared file must be before anyone is asked to believe it.

The same rules decide what `mtbench share` packs. Each answer is a sentence: a pull request that is refused says why.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mtbench.exchange import package
from mtbench.results import files, private, record, samples
from mtbench.results.estimates import estimate
from mtbench.results.limits import per_second
from mtbench.results.record import Record

KEPT = ("ok", "mismatch", "unsupported", "oom")
"""Statuses that say something of a library. The others say something of one run, and may hold a traceback."""

LARGEST_BYTES = 5 << 20

CLOSE = 1e-6
"""Relative. Times must follow from their samples, up to the rounding of a file."""

BEYOND_THE_ROOF = 1.1
"""A roof is the best of some calls, and repeats within a few per cent. A call that beats it by more did not do this work."""

MOST_FLOPS_PER_S, MOST_BYTES_PER_S = 1e17, 1e15
"""No single machine has these: 50 times a B200's dense FP4, 100 times its memory."""

FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)

DISTURBED = ("contended", "the machine slept", "swapped while")
"""The beginnings of the warnings of a job that did not have its machine to itself."""

MACHINE = {
    "architecture", "chip", "cores", "gpus", "kernel", "last_level_cache_bytes", "memory_bytes", "model", "not_read", "os",
    "os_version", "power_source", "python", "usable_cores", "virtualised",
}  # fmt: skip
GPU = {"name", "cores", "driver", "memory_bytes"}
"""What may be told of a machine and of its GPUs."""

VERSIONS = ("library_version", "blas", "mtbench_version", "python_version", "requirement")
"""Texts in which four numbers are a version, not an address."""


def check(path: Path, now: datetime | None = None) -> list[str]:
    """Why a shared file is refused, a sentence each; nothing where it is accepted."""
    try:
        said = package.contents(path)
    except ValueError as error:
        return [f"{error}"]
    frame, problems = record.read([path])
    if problems:
        return [f"implausible: {problem.partition('left out, ')[2] or problem}" for problem in problems]
    records = record.of_rows(frame)
    if not all(map(_has_gpus_as_facts, records)):
        return ["implausible: the GPUs of its machine are no list of facts"]
    found = [*_of_file(path, said, records), *of_records(records, now)]
    if said.selftest is not None:
        if not said.selftest.passed:
            found.append(f"the self-test of this machine failed: {said.selftest.summary}")
        told = {private.seen(str(text)) for text in vars(said.selftest).values()} - {None}
        found += [f"private: its self-test holds {what}" for what in sorted(map(str, told))]
    return list(dict.fromkeys(found))


def of_records(records: Iterable[Record], now: datetime | None = None) -> list[str]:
    """What is wrong with these records, each reason once with how many it concerns and the first of them."""
    found: dict[str, list[Record]] = {}
    for one in records:
        for reason in reasons(one, now):
            found.setdefault(reason, []).append(one)
    return [
        f"{reason} ({len(concerned)} of the jobs, the first {concerned[0].operator} {concerned[0].arm})"
        for reason, concerned in found.items()
    ]


def reasons(one: Record, now: datetime | None = None, here: private.Private | None = None) -> Iterator[str]:
    """Why one record is not to be shared. `here` also finds the names of this machine and its user."""
    if one.source is not None:
        yield "unverified: others published it, so no answer was checked"
        return
    yield from _unverified(one)
    if any(warning.startswith(DISTURBED) for warning in one.warnings):
        warning = next(warning for warning in one.warnings if warning.startswith(DISTURBED))
        yield f"contended: it did not have the machine to itself ({warning.partition(':')[0]})"
    yield from _implausible(one, now or datetime.now(UTC))
    yield from _too_fast(one)
    yield from _private(one, here)


def _has_gpus_as_facts(one: Record) -> bool:
    gpus = json.loads(one.machine).get("gpus") or []
    return isinstance(gpus, list) and all(isinstance(gpu, dict) for gpu in gpus)


def _of_file(path: Path, said: package.Contents, records: list[Record]) -> Iterator[str]:
    import polars as pl

    if said.layout != package.LAYOUT:
        yield f"its layout {said.layout} is not known; {package.LAYOUT} is"
    if path.stat().st_size > LARGEST_BYTES:
        yield f"it has more than {LARGEST_BYTES >> 20} MiB; share parts of it"
    if len(records) != said.records or not records:
        yield f"torn: it says {said.records} records and holds {len(records)}"
        return
    raw = pl.read_parquet(path)  # as it stands: a later version of mtbench reads more columns
    if package.fingerprint(raw) != said.fingerprint:
        yield "torn or edited: its records are not those that were packed"
    strange = sorted(set(raw.columns) - {each.name for each in fields(Record)})
    if strange:
        yield f"private: a column that records do not have, {strange[0]}"
    if {one.machine_id for one in records} != {said.machine_id}:
        yield "its records are of several machines, or of another than it says"
        return
    name = files.SHARED_NAME.fullmatch(path.name)
    folder = package.folder_name(json.loads(records[0].machine), said.machine_id)
    if name is None or name[2] != said.fingerprint or path.resolve().parent.name != folder:
        yield f"it belongs into measurements/{folder}/<date>-{said.fingerprint}.parquet"


def _unverified(one: Record) -> Iterator[str]:
    if one.status == "unverified":
        yield "unverified: no answer was checked"
    elif one.status not in KEPT:
        yield f"its status is {one.status}: that tells about one run only"
    elif one.status == "ok" and not _checked(one):
        yield "unverified: its error is not known, or larger than its tolerance"


def _checked(one: Record) -> bool:
    if one.verify_error is None or one.verify_tolerance is None:
        return False
    return one.verify_error <= one.verify_tolerance


def _implausible(one: Record, now: datetime) -> Iterator[str]:
    if not one.mtbench_version or not one.machine_id:
        yield "implausible: it does not say which mtbench or which machine measured"
    never_timed = one.status != "ok" and one.started_at is None  # refused, or wrong, before its first round
    for at in (one.finished_at,) if never_timed else (one.started_at, one.finished_at):
        if at is None or not FIRST_DAY <= at <= now + timedelta(days=1):
            yield "implausible: its dates are missing, or in the future"
            break
    if one.status != "ok":
        return
    if not any(any(rounds) for rounds in one.latency_samples_ns):
        yield "implausible: a speed without samples"
        return
    try:
        agree = all(_near(*pair) for pair in _recomputed(one))
    except (TypeError, ValueError):  # null for a sample, or a restart without a block
        yield "implausible: its samples are no times"
        return
    if not agree:
        yield "implausible: its times do not follow from its samples"
    if (
        one.flops is not None
        and one.throughput_ns
        and not _near(one.flops_per_s, per_second(one.flops, one.throughput_ns))
    ):
        yield "implausible: its rate is not its work over its time"


def _recomputed(one: Record) -> Iterator[tuple[float | None, float | None]]:
    """Each time of a record, and the one that follows from its samples."""
    tick = samples.tick_of(vars(one))
    throughput = one.throughput_samples_ns or [[1.0]]
    found = estimate(one.latency_samples_ns, throughput, confidence=0.95, tick_ns=tick)
    yield one.latency_ns, found.latency_ns
    if one.throughput_samples_ns:
        yield one.throughput_ns, found.throughput_ns


def _near(said: float | None, real: float | None) -> bool:
    return said is not None and real is not None and math.isclose(said, real, rel_tol=CLOSE)


def _too_fast(one: Record) -> Iterator[str]:
    for rate, most in ((one.peak_flops_per_s, MOST_FLOPS_PER_S), (one.peak_bytes_per_s, MOST_BYTES_PER_S)):
        if rate is not None and rate > most:
            yield "implausible: a peak rate that no machine has"
    if one.throughput_ns is None:
        return
    work = ((one.flops, one.peak_flops_per_s), (one.bytes_moved, one.peak_bytes_per_s))
    least = [amount / rate * 1e9 for amount, rate in work if amount is not None and rate]
    if least and max(least) > BEYOND_THE_ROOF * one.throughput_ns:
        yield "faster than its own roof: the measured peaks of this machine do not allow this time"


def _private(one: Record, here: private.Private | None) -> Iterator[str]:
    look = private.seen if here is None else here.seen
    if one.engine_job is not None:
        yield "private: engine_job names a job of somebody's cluster"
    machine = json.loads(one.machine)
    told = (machine.keys() - MACHINE) | {key for gpu in machine.get("gpus") or [] for key in gpu.keys() - GPU}
    if told:
        yield f"private: a fact about the machine that is not shared, {min(told)}"
    for name, value in vars(one).items():
        what = look(value) if isinstance(value, str) else None
        if what is not None and not (name in VERSIONS and what == private.NETWORK_ADDRESS):
            yield f"private: {name} holds {what}"
        if isinstance(value, list) and value and isinstance(value[0], str):
            for what in {look(text) for text in value} - {None}:
                yield f"private: {name} holds {what}"
    for name in ("asked_settings", "library_details", "params", "conditions", "protocol"):
        if key := next((key for key in _keys(json.loads(getattr(one, name))) if private.KEYS.match(key)), None):
            yield f"private: {name} holds {key}"


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
