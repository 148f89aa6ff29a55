"""Learns from earlier sweeps how much restarts differ, for each machine and each of its devices."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.errors import ConfigError
from mtbench.results import record, samples
from mtbench.results.files import exists
from mtbench.results.format import percent, plural
from mtbench.results.inference import variance_between
from mtbench.results.merging import IDENTITY
from mtbench.results.moderated import FEWEST_VARIANCES, learn
from mtbench.results.prior import LIBRARY, Earlier, Prior, disturbed
from mtbench.results.samples import Blocks

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 500
"""Files read together."""

COLUMNS = (
    "machine_id", "device", "sweep_id", "cell_id", "job_id", *LIBRARY, "status", "source", "restarts", "paired", "warnings",
    "finished_at", "clock_tick_ns", "calls_per_sample", *samples.COLUMNS.values(),
)  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Learnt:
    """What earlier records say, `of` each machine and device. `left_out` counts records by the reason why they say nothing;
    `problems` has a line for each file that is no record."""

    of: tuple[Earlier, ...]
    left_out: Mapping[str, int]
    problems: Sequence[str]

    @property
    def useful(self) -> tuple[Earlier, ...]:
        """Those from which something could be learnt."""
        return tuple(one for one in self.of if one.time is not None)

    def lines(self, machine_id: str) -> Iterator[str]:
        """What was learnt of one machine, in words, and what was left out."""
        for problem in self.problems:
            yield f"warning: {problem}"
        if self.left_out:
            counts = [f"{count:,} {reason}" for reason, count in self.left_out.items()]
            yield f"Earlier records left out: {', '.join(counts)}."
        here = [one for one in self.of if one.machine_id == machine_id]
        yield from map(told, here)
        if not here:
            others = len({one.machine_id for one in self.of})
            of_others = f", only of {others} {plural(others, 'other')}" if others else ""
            yield f"The earlier sweeps say nothing of this machine{of_others}. Intervals do not use them."


def told(one: Earlier) -> str:
    """What was learnt of a device, in a line."""
    source = (
        f"{one.jobs:,} {plural(one.jobs, 'job')} of {one.sweeps:,} earlier {plural(one.sweeps, 'sweep')} ({one.device})"
    )
    if one.time is None:
        return f"{source} are too few to learn from: {FEWEST_VARIANCES} are needed. Intervals do not use them."
    ratios = "" if one.ratio is None else f"; their ratios {_spread(one.ratio)}"
    spread = f"restarts differ by {_spread(one.time)}{ratios}"
    return f"Intervals use the spread of {source}: {spread}. Intervals of disturbed jobs do not."


def _spread(prior: Prior) -> str:
    return f"{percent(prior.variance**0.5)} (worth {prior.df:.1f} degrees of freedom)"


def learnt(sources: Sequence[Path]) -> Learnt:
    """What the records below these folders, or in these merged files, say of the spread between restarts.

    Used are right answers of two restarts or more, measured on a quiet machine by the version of the library that was
    measured there last. Latency and throughput count alike, since their spreads are alike (0.050 and 0.046 in 57 jobs on a
    shared machine). A ratio is that of two neighbours of a cell, so that no arm is in more than two. Raises ConfigError where a
    source does not exist, or none holds a record.
    """
    frame, problems = _read(files_of(sources))
    if not frame.height:
        raise ConfigError(
            f"No readable record of earlier sweeps: {problems[0] if problems else 'their files are empty'}."
        )
    left_out: Counter[str] = Counter()
    kept = []
    newest: dict[tuple[Any, ...], Row] = {}
    for row in frame.iter_rows(named=True):
        if (reason := _unfit(row)) is not None:
            left_out[reason] += 1
        else:
            kept.append(row)
            newest[_contender(row)] = row
    current = [row for row in kept if _library(row) == _library(newest[_contender(row)])]
    if old := len(kept) - len(current):
        left_out["of an older version of their library"] = old
    blocks = [samples.by_row(samples.table(frame, metric)) for metric in samples.COLUMNS]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in current:
        groups.setdefault((row["machine_id"], row["device"]), []).append(row)
    return Learnt(tuple(_of_device(*place, rows, blocks) for place, rows in groups.items()), left_out, problems)


def files_of(sources: Sequence[Path]) -> list[Path]:
    """The files of records there. Raises ConfigError where a source does not exist, or none holds a record."""
    for source in sources:
        if not exists(source):
            raise ConfigError(f"There is no folder or file {source} of earlier sweeps.")
    files = record.find(sources)
    if not files:
        raise ConfigError(f"No record of earlier sweeps under {', '.join(map(str, sources))}.")
    return files


def _read(files: Sequence[Path]) -> "tuple[pl.DataFrame, list[str]]":
    import polars as pl

    frames, problems = [pl.DataFrame(schema={name: record.schema()[name] for name in COLUMNS})], []
    for start in range(0, len(files), AT_ONCE):
        frame, unreadable = record.read(files[start : start + AT_ONCE])
        frames.append(frame.select(COLUMNS))
        problems += unreadable
    once = pl.concat(frames).unique(
        IDENTITY, keep="first", maintain_order=True
    )  # of a folder and the file merged from it
    return once.sort("finished_at", maintain_order=True).with_row_index("row"), problems


def _unfit(row: Row) -> str | None:
    """Why a record says nothing of the spread between restarts; None where it does."""
    if row["status"] != "ok" or row["source"] is not None:
        return "without a checked time"
    if row["restarts"] < 2:
        return "of a single restart"
    if disturbed(row):
        return "measured on a busy, hot or drifting machine"
    return None


def _contender(row: Row) -> tuple[Any, ...]:
    return row["machine_id"], row["device"], row["framework"], row["requirement"]


def _library(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in LIBRARY)


def _of_device(machine_id: str, device: str, rows: Sequence[Row], blocks: Sequence[Mapping[int, Blocks]]) -> Earlier:
    by_sweep: dict[str, list[Row]] = {}
    for row in rows:
        by_sweep.setdefault(row["sweep_id"], []).append(row)
    sweeps_df = sum(max(row["restarts"] for row in sweep) - 1 for sweep in by_sweep.values())
    pairs = [pair for sweep in by_sweep.values() for pair in _neighbours(sweep)]
    times = [_of_time(row) for row in rows]
    ratios = [_of_ratio(*(of[row["row"]] for row in pair)) for pair in pairs for of in blocks]
    libraries = tuple(sorted(set(map(_library, rows)), key=str))
    return Earlier(
        machine_id,
        device,
        libraries,
        len(rows),
        len(pairs),
        len(by_sweep),
        learn(list(chain.from_iterable(times)), sweeps_df) if len(rows) >= FEWEST_VARIANCES else None,
        learn(list(filter(None, ratios)), sweeps_df) if len(pairs) >= FEWEST_VARIANCES else None,
    )


def _neighbours(sweep: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """The pairs of a sweep's jobs that stand beside each other in a cell, and were interleaved."""
    cells: dict[str, list[Row]] = {}
    for row in sweep:
        if row["paired"] is not False:
            cells.setdefault(row["cell_id"], []).append(row)
    return chain.from_iterable(map(pairwise, cells.values()))


def _of_time(row: Row) -> list[tuple[float, int]]:
    """The variances of the logarithm of a job's latency and of its throughput."""
    latency = samples.by_restart(row["latency_samples_ns"], samples.tick_of(row))
    throughput = [rounds for rounds in row["throughput_samples_ns"] if rounds]
    found = [
        variance_between([[math.log(ns) for ns in rounds] for rounds in restarts]) for restarts in (latency, throughput)
    ]
    return [one for one in found if one is not None]


def _of_ratio(a: Blocks, b: Blocks) -> tuple[float, int] | None:
    """The variance of the logarithm of the ratio of two jobs' blocks."""
    restarts: dict[int, list[float]] = {}
    ours, theirs = dict(a), dict(b)
    for round_ in sorted(samples.in_common(a, b)):
        restarts.setdefault(round_[0], []).append(math.log(theirs[round_] / ours[round_]))
    return variance_between(list(restarts.values()))
