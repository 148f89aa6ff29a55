"""Samples, [restart][round][call], and the one number of each block, on which all inference works.

Single calls are never compared: successive ones are autocorrelated. The statistic of a latency block is the median of its
calls; a throughput block is waited for once, so its sample is one number already, [restart][round].
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mtbench.results.record import Record

METRICS = ("latency", "throughput", "device")
"""Every call waited for; calls queued and waited for once; the device's own clock, which gives no blocks."""

COLUMNS = {"latency": "latency_samples_ns", "throughput": "throughput_samples_ns"}
"""The samples of a metric in a record."""

OF_TOKENS = "token_samples_ns"
"""Samples within a call, which no inference works on."""

Rounds = tuple[tuple[int, int], ...]
"""Restart and round of some blocks."""

Blocks = Mapping[tuple[int, int], float]
"""A job's block statistics by restart and round."""


@dataclass(frozen=True, eq=False)
class BlockArray(Blocks):
    """Blocks as an array. `rounds` are `shared`, in order."""

    rounds: Rounds
    ns: "NDArray[np.float64]"

    def __getitem__(self, round_: tuple[int, int]) -> float:
        try:
            return float(self.ns[self.rounds.index(round_)])
        except ValueError:
            raise KeyError(round_) from None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.rounds)

    def __len__(self) -> int:
        return len(self.rounds)


@lru_cache(maxsize=4096)
def shared(rounds: Rounds) -> Rounds:
    """One and the same object for all that have these rounds, so that thousands of jobs are put together without a look at each
    round."""
    return rounds


def in_common(a: Blocks, b: Blocks) -> Rounds:
    """The rounds that both have, in no order."""
    if isinstance(a, BlockArray) and isinstance(b, BlockArray) and a.rounds is b.rounds:
        return a.rounds
    return tuple(a.keys() & b.keys())


def gathered(blocks: Sequence[Blocks], rounds: Rounds) -> "NDArray[np.float64]":
    """These rounds of each, as an array (blocks, rounds)."""
    import numpy as np

    if all(isinstance(one, BlockArray) and one.rounds is rounds for one in blocks):
        whole = [one.ns for one in blocks if isinstance(one, BlockArray)]
        return np.concatenate(whole).reshape(len(blocks), len(rounds))
    return np.array([[one[round_] for round_ in rounds] for one in blocks])


def tick_of(row: Mapping[str, Any]) -> float | None:
    """The step of the clock in one latency sample of a record, nanoseconds; None where the record does not say."""
    tick = row.get("clock_tick_ns")
    return None if tick is None else float(tick) / (row.get("calls_per_sample") or 1)


def block_statistic(calls: Sequence[float], tick_ns: float | None = None) -> float:
    """The statistic of one block: the median of its calls, or that of `ticks.block_ns` where the clock's tick is known."""
    if tick_ns is None:
        return median(calls)
    from mtbench.results.ticks import block_ns

    return block_ns(calls, tick_ns)


def middle(restarts: Sequence[Sequence[float]]) -> float:
    """The median over restarts of the median of each, [restart][value]."""
    return median(median(values) for values in restarts)


def by_restart(samples: Sequence[Sequence[Sequence[float]]], tick_ns: float | None = None) -> list[list[float]]:
    """The block statistics of [restart][round][call] as [restart][round], without restarts that have none."""
    found = [[block_statistic(calls, tick_ns) for calls in rounds if calls] for rounds in samples]
    return [blocks for blocks in found if blocks]


def token_times(samples: Sequence[Sequence[Sequence[int]]]) -> tuple[float, float | None]:
    """The time to the first token, and the mean time of each of the others, nanoseconds: medians over restarts of the medians
    of a restart's calls. Samples are [restart][call][token]; a text of one token has no others."""
    first = middle([[call[0] for call in calls] for calls in samples])
    if any(len(call) < 2 for calls in samples for call in calls):
        return first, None
    return first, middle([[fmean(call[1:]) for call in calls] for calls in samples])


def token_medians(restarts: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
    """The median time of a token in each text, [restart][call], nanoseconds."""
    return [[median(tokens) for tokens in calls if len(tokens)] for calls in restarts]


def blocks(record: "Record", metric: str) -> Blocks:
    """A record's block statistics in a metric, nanoseconds."""
    if metric not in COLUMNS:
        return {}
    if metric == "throughput":
        return _numbered(record.throughput_samples_ns)
    return {
        (restart, number): block_statistic(calls)
        for restart, rounds in enumerate(record.latency_samples_ns)
        for number, calls in enumerate(rounds)
        if calls
    }


def restart_medians(found: Blocks) -> list[float]:
    """The median over the blocks of each restart, in the order of restarts."""
    restarts: dict[int, list[float]] = {}
    for (restart, _), ns in sorted(found.items()):
        restarts.setdefault(restart, []).append(ns)
    return [median(values) for values in restarts.values()]


def spread(restarts: Sequence[float]) -> float:
    """How far restarts' medians lie apart, relative to their own median."""
    return (max(restarts) - min(restarts)) / median(restarts)


def table(frame: "pl.DataFrame", metric: str) -> "pl.DataFrame":
    """`blocks` of many records at once: a frame of records as row, restart, round and ns.

    `frame` has the record's columns of samples; `row` is the number of a record in it. Device times have no blocks.
    """
    import polars as pl

    if metric not in COLUMNS:
        return pl.DataFrame(schema={"row": pl.Int64, "restart": pl.Int64, "round": pl.Int64, "ns": pl.Float64})
    rounds = frame.select(row=pl.int_range(pl.len(), dtype=pl.Int64), block=COLUMNS[metric])
    for name in ("restart", "round"):
        numbers = pl.int_ranges(pl.col("block").list.len()).alias(name)
        rounds = rounds.with_columns(numbers).explode("block", name)
    nested = isinstance(rounds.schema["block"], pl.List)
    statistic = pl.col("block").list.median() if nested else pl.col("block")  # that of `block_statistic`
    return rounds.select("row", "restart", "round", ns=statistic).drop_nulls()


def by_row(rows: "pl.DataFrame") -> Mapping[int, BlockArray]:
    """The blocks of each row of a `table`."""
    import numpy as np

    row, restart, number, ns = (rows[name].to_numpy() for name in ("row", "restart", "round", "ns"))
    places = np.stack([restart, number], axis=-1)
    starts = np.flatnonzero(np.diff(row, prepend=-1)).tolist()
    ends = [*starts[1:], len(row)][: len(starts)]
    alike: dict[bytes, Rounds] = {}
    found = {}
    for start, end in zip(starts, ends, strict=True):
        key = places[start:end].tobytes()
        if key not in alike:
            alike[key] = shared(tuple((restart, number) for restart, number in places[start:end].tolist()))
        found[int(row[start])] = BlockArray(alike[key], ns[start:end])
    return found


def _numbered(samples: Iterable[Iterable[float]]) -> Blocks:
    return {(restart, number): ns for restart, rounds in enumerate(samples) for number, ns in enumerate(rounds)}
