"""What one arm's samples say: its median and interval, percentiles, outliers, spread, and whether to trust them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING

from mtbench.results.format import percent
from mtbench.results.samples import by_restart, spread

if TYPE_CHECKING:
    from mtbench.results.prior import Prior
    from mtbench.results.stats import Interval

RESTARTS_APART = 0.2
"""Restarts differ by some per cent, on a shared machine by ten; if they differ by more, something else ran beside one of them.
From three restarts on, the interval includes it."""

OVERHEAD_FRACTION = 0.1
"""A median of which the library's cheapest call takes more than this says little about the operator."""


@dataclass(frozen=True)
class Estimates:
    """The columns of a record that follow from its samples, by their names there, and what has to be warned of."""

    latency_ns: float
    latency_low_ns: float
    latency_high_ns: float
    latency_p90_ns: float | None
    latency_p99_ns: float | None
    throughput_ns: float
    throughput_low_ns: float
    throughput_high_ns: float
    confidence: float
    outliers: int
    restart_spread: float | None
    converged: bool
    warnings: list[str] = field(default_factory=list)


def estimate(
    latency_ns: Sequence[Sequence[Sequence[int]]],
    throughput_ns: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    target: float = 0.01,
    floor_ns: float | None = None,
    tick_ns: float | None = None,
    prior: "Prior | None" = None,
) -> Estimates:
    """The estimates from samples, [restart][round][call] and [restart][round].

    `target` is the half width of the interval, relative to the median, at which a job has converged; `floor_ns` the library's
    cheapest call; `tick_ns` the step of the clock in one latency sample; `prior` what earlier sweeps say of the spread between
    restarts. Raises ValueError where there is no sample.
    """
    from mtbench.results import stats
    from mtbench.results.inference import FEWEST_RESTARTS

    latency = interval(latency_ns, confidence, tick_ns=tick_ns, prior=prior)
    throughput = interval([[[value] for value in rounds] for rounds in throughput_ns], confidence, prior=prior)
    restarts = by_restart(latency_ns)
    blocks = list(chain.from_iterable(restarts))
    calls = [call for rounds in latency_ns for block in rounds for call in block]
    apart = spread([median(one) for one in restarts]) if len(restarts) > 1 else None
    half_width = stats.relative_half_width(latency)
    converged = latency.confidence >= confidence and half_width <= target
    warnings = []
    if apart is not None and apart > RESTARTS_APART and len(restarts) < FEWEST_RESTARTS:
        warnings.append(f"restarts disagree: their medians lie {percent(apart)} apart, more than is assumed of two")
    if latency.confidence < confidence:
        few = "1 block is" if len(blocks) == 1 else f"{len(blocks)} blocks are"
        warnings.append(f"not converged: {few} too few for an interval at {percent(confidence, 3)}")
    elif not converged:
        warnings.append(f"not converged, ±{percent(half_width)}")
    if floor_ns is not None and floor_ns > OVERHEAD_FRACTION * latency.estimate:
        share = percent(floor_ns / latency.estimate)
        warnings.append(f"overhead_bound: the cheapest call of this library takes {share} of this time")
    return Estimates(
        latency_ns=latency.estimate,
        latency_low_ns=latency.low,
        latency_high_ns=latency.high,
        latency_p90_ns=stats.percentile(calls, 90),
        latency_p99_ns=stats.percentile(calls, 99),
        throughput_ns=throughput.estimate,
        throughput_low_ns=throughput.low,
        throughput_high_ns=throughput.high,
        confidence=latency.confidence,
        outliers=len(stats.outliers(blocks)),
        restart_spread=apart,
        converged=converged,
        warnings=warnings,
    )


def within(blocks_ns: Sequence[float], target: float, confidence: float) -> bool:
    """Whether blocks of one restart are enough: their median's interval has this confidence, and lies within the target."""
    from mtbench.results import stats

    found = stats.median_interval(blocks_ns, confidence)
    return found.confidence >= confidence and stats.relative_half_width(found) <= target


def interval(
    samples_ns: Sequence[Sequence[Sequence[float]]],
    confidence: float,
    *,
    tick_ns: float | None = None,
    prior: "Prior | None" = None,
) -> "Interval":
    """The time of a call, from [restart][round][call], with its interval: see `inference.time_interval`."""
    from mtbench.results.inference import time_interval

    return time_interval(by_restart(samples_ns, tick_ns), confidence, tick_ns=tick_ns, prior=prior)
