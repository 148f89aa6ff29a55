"""What a block's statistic and a time's interval are worth on a clock that ticks slowly."""

import math

import numpy as np

from mtbench.results.comparison import ALPHA
from mtbench.results.inference import Bounds, Floats, on_ticks
from mtbench.results.ticks import near_mean
from mtbench.selftest.simulation import judged
from mtbench.selftest.simulation.judged import Estimate
from mtbench.selftest.simulation.promises import Scale, Table, percent

CALLS, BLOCKS, RESTARTS = 200, 8, 5


def clock(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "A slow clock",
        f"Calls take 12.5 to 40 ticks of the clock; a block has {CALLS}. The first column is the standard deviation of a "
        "call, in ticks. Disturbed calls take longer by a random part of their time: exponential, 100 % in the mean. "
        "Errors are root mean square errors in ticks: of the median of a block, of the mean of all its calls, and of the "
        f"mean of the calls near the median. Coverage is that of the interval of {RESTARTS} restarts, in per cent: from "
        "medians, from medians with half a tick added, and from means near the median. Promised: 95 % with half a tick "
        "added, and from means near the median if nothing is disturbed.",
        [
            "deviation",
            "disturbed",
            "error of median",
            "error of mean",
            "error of near mean",
            "coverage of medians",
            "with half a tick",
            "coverage of near means",
        ],
    )
    for deviation in (0.0, 0.1, 0.3, 1.0, 3.0):
        for disturbed in (0.0, 0.05):
            row = [f"{deviation:g}", f"{100 * disturbed:g} %"]
            errors: dict[str, list[Floats]] = {"median": [], "mean": [], "near": []}
            held: dict[str, list[Floats]] = {"median": [], "half": [], "near": []}
            for _ in range(max(1, scale.trials // 1000)):
                ticks, calls = _calls(50, deviation, disturbed, rng)
                blocks = {
                    "median": np.median(calls, axis=-1),
                    "mean": calls.mean(axis=-1),
                    "near": near_mean(calls, 1.0),
                }
                for name, values in blocks.items():
                    errors[name].append(values - ticks[:, None, None])
                medians = judged.bounds(np.log(blocks["median"]), 1)
                held["median"].append(_holds(medians, ticks))
                held["half"].append(_holds(_widened(medians), ticks))
                held["near"].append(_holds(judged.bounds(np.log(blocks["near"]), 1), ticks))
            row += [f"{math.sqrt(np.mean(np.concatenate(one) ** 2)):.3f}" for one in errors.values()]
            found = {name: Estimate.of(np.concatenate(one)) for name, one in held.items()}
            row += [percent(one) for one in found.values()]
            for name in ("half", "near"):
                # A disturbed call that is not left out makes a block late, by less than a tenth of a tick.
                if (name == "half" or not disturbed) and not found[name].at_least(1 - ALPHA):
                    table.broken.append(f"{table.title}, deviation {deviation}: {name} {percent(found[name])} %")
            table.rows.append(row)
    return table


def _calls(trials: int, deviation: float, disturbed: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """True durations (trials), and what the clock shows (trials, restarts, blocks, calls), in ticks."""
    shape = (trials, RESTARTS, BLOCKS, CALLS)
    ticks = rng.uniform(12.5, 40, trials)
    hit = rng.random(shape) < disturbed
    took = (ticks[:, None, None, None] + deviation * rng.normal(size=shape)) * (1 + hit * rng.exponential(1.0, shape))
    begun = rng.random(shape)
    return ticks, np.floor(begun + np.maximum(took, 0.0)) - np.floor(begun)


def _widened(found: Bounds) -> Bounds:
    low, high = on_ticks(found.low, found.high, 1.0, np.exp(found.estimate))
    return Bounds(found.estimate, low, high, found.p_value)


def _holds(found: Bounds, ticks: Floats) -> Floats:
    return ((found.low <= np.log(ticks)) & (np.log(ticks) <= found.high)).astype(float)
