"""Runs the simulations and prints their tables as Markdown; the exit status is 1 where a promise does not hold."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mtbench.selftest.simulation.earlier import few_sweeps, priors
from mtbench.selftest.simulation.noise import NOISES
from mtbench.selftest.simulation.promises import (
    FULL,
    QUICK,
    Scale,
    Table,
    centers,
    coverage_of_a_ratio,
    coverage_of_a_time,
    families,
    power,
)
from mtbench.selftest.simulation.stopping import stopping
from mtbench.selftest.simulation.ticks import clock

PARTS: tuple[Callable[[Scale, np.random.Generator], Table], ...] = (
    coverage_of_a_time,
    coverage_of_a_ratio,
    families,
    power,
    priors,
    few_sweeps,
    centers,
    stopping,
    clock,
)

MARK = "<!-- What follows is written by python -m mtbench.selftest.simulation --into docs/truth.md -->"


def simulated(scale: Scale, seed: int) -> list[Table]:
    """All tables; each part has random numbers of its own, so that one may change without the others."""
    found = []
    for part in PARTS:
        begun = time.monotonic()
        found.append(part(scale, np.random.default_rng([seed, *part.__name__.encode()])))
        print(f"{found[-1].title}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return found


def legend() -> str:
    """What the names of the noises mean."""
    return "\n".join(["Noise:", "", *(f"- **{noise.name}**: {noise.meaning}" for noise in NOISES)]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mtbench.selftest.simulation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the trials, in some seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, help="a Markdown file whose part below the mark is written anew")
    given = parser.parse_args(arguments)
    scale = QUICK if given.quick else FULL
    tables = simulated(scale, given.seed)
    broken = [line for table in tables for line in table.broken]
    verdict = [f"Broken: {line}" for line in broken] or ["Every promise holds within four Monte Carlo errors."]
    size = f"Seed {given.seed}; {scale.tables} tables, {scale.trials} trials in each place.\n"
    text = "\n".join([size, "\n".join(verdict) + "\n", legend(), *(table.markdown() for table in tables)])
    if given.into is None:
        print(text)
    else:
        above, mark, _ = given.into.read_text().partition(MARK)
        if not mark:
            parser.error(f"{given.into} has no line {MARK}")
        given.into.write_text(f"{above}{MARK}\n\n{text}")
        print("\n".join(verdict))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
