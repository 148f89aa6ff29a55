"""Whose variances may be a cell's prior: those of the same sweep's other cells, or those of earlier sweeps."""

import math
from collections.abc import Callable

import numpy as np

from mtbench.results.comparison import ALPHA
from mtbench.results.inference import Floats, around
from mtbench.results.moderated import learn
from mtbench.results.prior import Prior
from mtbench.selftest.simulation.judged import Estimate
from mtbench.selftest.simulation.promises import PAIRS, Scale, Table, percent

SWEEPS, THEIR_RESTARTS = 8, 5
FEW = ((1, 2), (1, 3), (1, 5), (2, 3), (4, 5))
"""Earlier sweeps and their restarts, where there are few."""

RESTARTS = (2, 3, 5)

Spreads = Callable[[np.random.Generator, int], Floats]
"""Standard deviations between restarts of so many cells."""

CELLS: dict[str, Spreads] = {
    "alike": lambda rng, cells: np.full(cells, 0.014),
    "lognormal, 0.4": lambda rng, cells: 0.014 * rng.lognormal(0, 0.4, cells),
    "lognormal, 0.7": lambda rng, cells: 0.014 * rng.lognormal(0, 0.7, cells),
    "a quarter 14 times noisier": lambda rng, cells: np.where(rng.random(cells) < 0.25, 0.07, 0.005),
}


def priors(scale: Scale, rng: np.random.Generator) -> Table:
    """`around` with the prior of either source, in tables of equal arms."""
    table = Table(
        "Can other cells' spread replace a cell's own?",
        f"Tables of {PAIRS} equal pairs. The prior is learnt from the table's own cells, or from those of {SWEEPS} earlier "
        f"sweeps of {THEIR_RESTARTS} restarts. Each entry has three numbers: the coverage of the intervals, in per cent; *the "
        "tables with a false verdict if verdicts used the prior too*, in per cent; the median width of the intervals, "
        "relative to those from a cell's own restarts. The number after *lognormal* is the standard deviation of the "
        "logarithm of a cell's spread.",
        ["spread of the cells", "their processes", "prior from", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for name, spreads in CELLS.items():
        for together in (False, True):
            for source, sweeps in (("the same sweep", 0), ("earlier sweeps", SWEEPS)):
                row = [name, "shared" if together else "own", source]
                for restarts in RESTARTS:
                    earlier = sweeps, THEIR_RESTARTS
                    coverage, false, width = _tried(spreads, together, earlier, restarts, scale.tables // 6, rng)
                    row.append(f"{percent(coverage)}; *{percent(false)}*; {width:.2f}")
                    if sweeps and not coverage.at_least(1 - ALPHA):
                        table.broken.append(f"{table.title}, {name}, {restarts} restarts: {percent(coverage)} %")
                table.rows.append(row)
    return table


def few_sweeps(scale: Scale, rng: np.random.Generator) -> Table:
    """The same with priors from few earlier sweeps, each of whose cells share its processes."""
    table = Table(
        "How many earlier sweeps does a prior need?",
        f"The same, where the {PAIRS} cells of each sweep share its processes, so that a sweep says no more of the middle "
        "spread than one cell would. Each entry has the coverage of the intervals, in per cent, and their relative width.",
        ["spread of the cells", "earlier sweeps", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for name, spreads in CELLS.items():
        for sweeps, theirs in FEW:
            row = [name, f"{sweeps} of {theirs} restarts"]
            for restarts in RESTARTS:
                coverage, _, width = _tried(spreads, True, (sweeps, theirs), restarts, scale.tables // 6, rng)
                row.append(f"{percent(coverage)}; {width:.2f}")
                if not coverage.at_least(1 - ALPHA):
                    table.broken.append(f"{table.title}, {name}, {row[1]}, {restarts}: {percent(coverage)} %")
            table.rows.append(row)
    return table


def _tried(
    spreads: Spreads, together: bool, earlier: tuple[int, int], restarts: int, tables: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate, float]:
    """Coverage, tables with a false verdict, and relative width, with a prior from `earlier`: so many sweeps of so many
    restarts, or from the table's own cells where there is no sweep."""
    sweeps, theirs = earlier
    sweeps_df = sweeps * (theirs - 1) or math.inf
    covered, false, widths = [], [], []
    for _ in range(tables):
        medians = _sweep(spreads, together, restarts, rng)
        found = [_sweep(spreads, together, theirs, rng) for _ in range(sweeps)] or [medians]
        variances = [(float(one), sweep.shape[1] - 1) for sweep in found for one in sweep.var(axis=1, ddof=1)]
        prior = learn(variances, sweeps_df)
        single, whole = (_half(medians, prior, alpha) for alpha in (ALPHA, ALPHA / PAIRS))
        center = np.abs(medians.mean(axis=1))
        covered.append(center <= single)
        false.append(bool((center > whole).any()))
        widths.append((single, _half(medians, Prior(0.0, 0.0), ALPHA)))
    ours, own = np.array(widths).transpose(1, 0, 2)
    return Estimate.of(np.array(covered)), Estimate.of(np.array(false)), float(np.median(ours) / np.median(own))


def _sweep(spreads: Spreads, together: bool, restarts: int, rng: np.random.Generator) -> Floats:
    """The restarts' median log ratios (cells, restarts): what processes do, and the noise of 8 rounds."""
    processes = rng.normal(0, 1, (1 if together else PAIRS, restarts))
    return spreads(rng, PAIRS)[:, None] * processes + rng.normal(0, 0.0045, (PAIRS, restarts))


def _half(medians: Floats, prior: Prior | None, alpha: float) -> Floats:
    nothing = np.zeros(len(medians))
    found = around(medians, nothing, nothing, nothing, arms=2, confidence=1 - alpha, prior=prior)
    # About the mean; the bounds also hold the median, which matters little where it lies.
    half: Floats = np.maximum(found.high - medians.mean(axis=1), medians.mean(axis=1) - found.low)
    return half
