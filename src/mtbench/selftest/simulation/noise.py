"""Measurements as machines make them: logarithms of block times, whose arms are equally fast unless something is added."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.results.inference import Floats

Shape = tuple[int, ...]
"""(tables, pairs, arms, restarts, rounds)."""

Draw = Callable[[np.random.Generator, Shape], Floats]

ROUNDS = 0.01
"""The standard deviation of a block within its restart."""


@dataclass(frozen=True)
class Noise:
    """`promised`: whether intervals and verdicts promise to hold under it. Else it shows where they end."""

    name: str
    meaning: str
    draw: Draw
    promised: bool = True


def normal(between: float) -> Draw:
    """Restarts whose speeds have this standard deviation."""
    return lambda rng, shape: _process(rng.normal(0, between, shape[:-1])) + rng.normal(0, ROUNDS, shape)


def autocorrelated(rng: np.random.Generator, shape: Shape, correlation: float = 0.7) -> Floats:
    """Blocks that each resemble the one before, in restarts with a deviation of 1 %."""
    fresh = rng.normal(0, ROUNDS, shape)
    blocks = np.empty(shape)
    blocks[..., 0] = fresh[..., 0]
    for number in range(1, shape[-1]):
        blocks[..., number] = correlation * blocks[..., number - 1] + math.sqrt(1 - correlation**2) * fresh[..., number]
    return _process(rng.normal(0, 0.01, shape[:-1])) + blocks


def skewed(rng: np.random.Generator, shape: Shape) -> Floats:
    """Lognormal restarts and blocks: some are much slower, none is much faster."""
    sigma = 0.5
    deviation = math.exp(sigma**2 / 2) * math.sqrt(math.expm1(sigma**2))

    def draw(size: Shape) -> Floats:
        return (rng.lognormal(0, sigma, size) - 1) / deviation

    return _process(0.03 * draw(shape[:-1])) + ROUNDS * draw(shape)


def heavy(rng: np.random.Generator, shape: Shape) -> Floats:
    """Student's t with 3 degrees of freedom, for restarts (3 %) and blocks."""
    scale = math.sqrt(3)
    return _process(0.03 / scale * rng.standard_t(3, shape[:-1])) + ROUNDS / scale * rng.standard_t(3, shape)


def bursts(rng: np.random.Generator, shape: Shape) -> Floats:
    """One arm in five is disturbed for some rounds on end of a restart, 4 on average, by 20 % on average."""
    quiet = normal(0.005)(rng, shape)
    rounds = np.arange(shape[-1])
    begins = rng.integers(0, shape[-1], shape[:-1])[..., None]
    ends = begins + rng.geometric(0.25, shape[:-1])[..., None]
    hit = (rng.random(shape[:-1]) < 0.2)[..., None] & (rounds >= begins) & (rounds < ends)
    return quiet + hit * _process(rng.exponential(0.2, shape[:-1]))


def shared(rng: np.random.Generator, shape: Shape) -> Floats:
    """All cells of a table share their restarts' processes, whose speeds have a deviation of 3 %."""
    processes = rng.normal(0, 0.03, (shape[0], 1, *shape[2:-1]))
    return _process(processes) + rng.normal(0, ROUNDS, shape)


def modes(rng: np.random.Generator, shape: Shape) -> Floats:
    """Each process is by chance in one of two modes, 3 % apart, and steady in it."""
    return _process(0.03 * rng.integers(0, 2, shape[:-1])) + rng.normal(0, 0.002, shape)


def _process(speeds: NDArray[Any]) -> Floats:
    """Speeds of processes, for each of their rounds."""
    return np.asarray(speeds, dtype=np.float64)[..., None]


NOISES = (
    Noise(
        "0 %",
        "restarts do not differ; blocks differ by 1 %, here and in each line that gives no other value",
        normal(0.0),
    ),
    Noise("0.3 %", "standard deviation between restarts of a process: 0.3 %", normal(0.003)),
    Noise("1 %", "the same, 1 %", normal(0.01)),
    Noise("5 %", "the same, 5 %", normal(0.05)),
    Noise("lognormal", "the noise of restarts (3 %) and of blocks is skewed", skewed),
    Noise("heavy tails", "the noise of restarts (3 %) and of blocks is Student's t with 3 degrees of freedom", heavy),
    Noise("bursts", "one visit in five is slower by 20 % for 4 rounds; restarts differ by 0.5 %", bursts),
    Noise("AR(1) 0.7", "successive blocks are correlated; restarts differ by 1 %", autocorrelated),
    Noise("shared", "all cells of a table share their processes; restarts differ by 3 %", shared),
    Noise(
        "10 %", "restarts differ by 10 %, more than the interval of two restarts assumes", normal(0.1), promised=False
    ),
    Noise("two modes", "each process is in one of two modes, 3 % apart; blocks differ by 0.2 %", modes, promised=False),
)
