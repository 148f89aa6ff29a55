"""What is promised of intervals, tables and differences, each as a table of what the simulation shows."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mtbench.results.comparison import ALPHA
from mtbench.results.inference import Bounds, Floats
from mtbench.selftest.simulation import judged
from mtbench.selftest.simulation.judged import Estimate, Flags
from mtbench.selftest.simulation.noise import NOISES, Noise, normal

RESTARTS = (2, 3, 5, 10)
ROUNDS = 8
PAIRS = 20
CHUNK = 2_000_000
"""Values that are drawn at once."""


@dataclass(frozen=True)
class Scale:
    """How much is simulated."""

    tables: int
    trials: int


FULL = Scale(tables=6000, trials=20_000)
QUICK = Scale(tables=300, trials=1000)


@dataclass
class Table:
    """`broken` says which promise does not hold within four Monte Carlo errors."""

    title: str
    text: str
    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", self.text, ""]
        lines += ["| " + " | ".join(row) + " |" for row in (self.header, ["---"] * len(self.header), *self.rows)]
        return "\n".join(lines) + "\n"


def percent(found: Estimate) -> str:
    """A proportion with its Monte Carlo error."""
    return f"{100 * found.value:.1f} ± {100 * found.error:.1f}"


def tables(
    noise: Noise, rng: np.random.Generator, count: int, pairs: int, restarts: int, rounds: int = ROUNDS, arms: int = 2
) -> Iterator[Floats]:
    """So many tables (tables, pairs, arms, restarts, rounds), in portions."""
    each = pairs * arms * restarts * rounds
    for begin in range(0, count, max(1, CHUNK // each)):
        size = min(max(1, CHUNK // each), count - begin)
        yield noise.draw(rng, (size, pairs, arms, restarts, rounds))


def joined(found: Sequence[Bounds]) -> Bounds:
    names = ("estimate", "low", "high", "p_value")
    return Bounds(*(np.concatenate([getattr(one, name) for one in found]) for name in names))


def coverage_of_a_time(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "The interval of a time",
        "The coverage of the interval of one arm, in per cent with its Monte Carlo error; in brackets its median half width. "
        f"The true value is the median over infinitely many restarts. Promised: 95 %. {ROUNDS} rounds in each restart.",
        ["noise between restarts", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for noise in NOISES:
        large = np.concatenate(
            [np.median(one[:, 0, 0, 0], axis=-1) for one in tables(noise, rng, 200_000, 1, 1, arms=1)]
        )
        truth = float(np.mean(np.quantile(large, [0.49, 0.51])))  # between two modes, any value is a median

        def cell(restarts: int, noise: Noise = noise, truth: float = truth) -> tuple[Flags, Bounds]:
            found = joined(
                [judged.bounds(one[:, 0, 0], 1) for one in tables(noise, rng, scale.trials, 1, restarts, arms=1)]
            )
            return judged.covers(found, truth), found

        _coverage_row(table, noise, RESTARTS, cell)
    return table


def coverage_of_a_ratio(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "The interval of a ratio",
        "The same for the ratio of two equal arms. Promised: 95 %. With one restart, the spread between restarts is assumed.",
        [
            "noise between restarts",
            *(f"{restarts} restarts" if restarts > 1 else "1 restart" for restarts in (1, *RESTARTS)),
        ],
    )
    for noise in NOISES:

        def cell(restarts: int, noise: Noise = noise) -> tuple[Flags, Bounds]:
            drawn = tables(noise, rng, scale.trials, 1, restarts)
            found = joined([judged.bounds(judged.ratios(one)[:, 0], 2) for one in drawn])
            return judged.covers(found, 0.0), found

        _coverage_row(table, noise, (1, *RESTARTS), cell)
    return table


def _coverage_row(
    table: Table, noise: Noise, restarts: Sequence[int], cell: Callable[[int], tuple[Flags, Bounds]]
) -> None:
    row = [_name(noise)]
    for number in restarts:
        covered, found = cell(number)
        estimate = Estimate.of(covered)
        row.append(f"{percent(estimate)} (±{judged.half_width(found):.2g} %)")
        if noise.promised and not estimate.at_least(1 - ALPHA):
            table.broken.append(f"{table.title}, {noise.name}, {number} restarts: {percent(estimate)} %")
    table.rows.append(row)


def families(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "Tables of equal arms",
        "Tables with at least one false verdict, in per cent, with 6 / 20 pairs in a table. Promised: at most 5 %. Any "
        "difference that is significant after Holm's correction counts, even one below the threshold.",
        ["noise between restarts", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for noise in NOISES:
        row = [_name(noise)]
        for restarts in RESTARTS:
            small, large = [], []
            for one in tables(noise, rng, scale.tables, PAIRS, restarts):
                ratios = judged.ratios(one)
                small.append(judged.any_false(judged.bounds(ratios[:, :6], 2)))
                large.append(judged.any_false(judged.bounds(ratios, 2)))
            found = [Estimate.of(np.concatenate(one)) for one in (small, large)]
            row.append(" / ".join(map(percent, found)))
            if noise.promised and not all(one.at_most(ALPHA) for one in found):
                table.broken.append(f"{table.title}, {noise.name}, {restarts} restarts: {row[-1]} %")
        table.rows.append(row)
    return table


def power(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "How often a difference is found",
        f"How often a true difference gets the verdict *slower*, in per cent: alone / in a table of {PAIRS} whose other pairs "
        "are equal. In brackets: how often the interval of a single comparison excludes 1. The threshold is at least 1 %, so "
        "a true difference of 1 % is found at most half of the time. Blocks differ by 1 %.",
        ["difference", "between restarts", "rounds", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for difference in (0.01, 0.03, 0.1, 0.5):
        for between in (0.001, 0.003, 0.01):
            for rounds in (1, 8, 16) if difference < 0.1 else (8,):
                noise, row = (
                    Noise("", "", normal(between)),
                    [f"+{100 * difference:g} %", f"{100 * between:g} %", f"{rounds}"],
                )
                for restarts in RESTARTS:
                    drawn = tables(noise, rng, scale.trials // 4, 1, restarts, rounds)
                    found = joined(
                        [judged.bounds(judged.ratios(one)[:, 0] + math.log1p(difference), 2) for one in drawn]
                    )
                    alone, among = (100 * judged.slower(found, count).mean() for count in (1, PAIRS))
                    row.append(f"{alone:.0f} / {among:.0f} ({100 * judged.differs(found).mean():.0f})")
                table.rows.append(row)
    return table


def centers(scale: Scale, rng: np.random.Generator) -> Table:
    table = Table(
        "The median or the mean of the restarts",
        "The root mean square error of a ratio, in per cent, by the median of the restarts (used) / by their mean.",
        ["noise between restarts", *(f"{restarts} restarts" for restarts in RESTARTS)],
    )
    for noise in NOISES:
        row = [_name(noise)]
        for restarts in RESTARTS:
            medians = np.concatenate(
                [
                    np.median(judged.ratios(one)[:, 0], axis=-1)
                    for one in tables(noise, rng, scale.trials // 2, 1, restarts)
                ]
            )
            errors = [np.sqrt(np.mean(center(medians, axis=1) ** 2)) for center in (np.median, np.mean)]
            row.append(" / ".join(f"{100 * error:.2f}" for error in errors))
        table.rows.append(row)
    return table


def _name(noise: Noise) -> str:
    return noise.name if noise.promised else f"{noise.name} (no promise)"
