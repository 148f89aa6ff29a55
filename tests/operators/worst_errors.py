"""The worst errors of all right forms: `python tests/operators/worst_errors.py [LIBRARY ...] [--part K/N]`, by dtype and
library; with MTBENCH_TEST_DEVICE=gpu on a GPU. `--part 1/8` to `8/8`: an eighth of the work each, for processes side by side.

Limits are set by it: what every form of every operator reaches on a machine must lie below them with a margin. It shows each
operator whose errors are more than half of a limit, for the inputs that are timed and for those that tell.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from operator_cases import (
    ARMS,
    LIBRARIES,
    TOLERANCES,
    build,
    cases,
    default,
    draw,
    errors,
    has,
    limits,
    outputs,
    references,
    shapes,
)

from mtbench.bench.worker.correctness import Mismatch, rounded
from mtbench.bench.worker.gate import TELLING
from mtbench.errors import Unsupported
from mtbench.operators.base import Operator, Shape
from mtbench.plan.accuracy import Errors

LARGER = (Shape(2, 128), Shape(1, 1, 1024), Shape(2, 64, 512))
"""Beside the tests' small ones, where sums are longer."""


Found = dict[tuple[str, ...], Errors]


def main(libraries: list[str], part: int, parts: int) -> None:
    worst: Found = defaultdict(Errors)
    near: Found = defaultdict(Errors)
    counted: dict[tuple[str, ...], int] = defaultdict(int)
    try:
        for name, library, variant, dtype, problem, shape in work(libraries)[part - 1 :: parts]:
            limit = limits(name, dtype)
            for found in all_errors(name, library, variant, dtype, problem, shape):
                worst[dtype, library] = worst[dtype, library].worst(found)
                counted[dtype, library] += 1
                if found.norm > limit.norm / 2 or found.row > limit.row / 2 or found.element > limit.element / 2:
                    near[name, library, dtype] = near[name, library, dtype].worst(found)
    finally:  # an interrupted run has its worth, too
        print("| dtype | library | results | norm | row | element |\n|---|---|---|---|---|---|")
        for key, found in sorted(worst.items()):
            shown = " | ".join(f"{value:.1e}" for value in (found.norm, found.row, found.element))
            print(f"| {' | '.join(key)} | {counted[key]} | {shown} |")
        for (name, library, dtype), found in sorted(near.items()):
            print(f"near a limit: {name} {library} {dtype} {found} of {limits(name, dtype)}")


def work(libraries: list[str]) -> list[tuple[str, str, str, str, Operator, Shape]]:
    """Every form in every dtype, and in every shape that the tests have for it and some larger ones."""
    return [
        (name, library, variant, dtype, problem, shape)
        for name, library, variant in ARMS
        if library in libraries
        for dtype in TOLERANCES
        if has(library, dtype)
        for problem, shape in [*cases(name, library, dtype), *larger(name)]
    ]


def larger(name: str) -> list[tuple[Operator, Shape]]:
    return [] if name == "causal_lm" else [(default(name), shape) for shape in shapes(default(name), *LARGER)]


def all_errors(name: str, library: str, variant: str, dtype: str, problem: Operator, shape: Shape) -> Iterator[Errors]:
    """Of one form, with the inputs that are timed and with those that tell."""
    drawn, weights = draw(problem, shape, dtype)
    telling = problem.telling_inputs(np.random.default_rng(1), shape, dtype)
    try:
        call = build(problem, library, variant, weights, dtype)
        sets = [(drawn, 1)] + ([] if telling is None else [(list(rounded(telling, dtype).values()), TELLING)])
        for inputs, factor in sets:
            out = outputs(call, library, inputs, dtype)
            try:
                yield errors(problem, inputs, out, references(problem, inputs, weights), dtype, factor)
            except Mismatch as error:
                print("MISMATCH", name, library, variant, dtype, shape, error, flush=True)
                yield error.errors or Errors()
    except Unsupported:
        return
    except Exception as error:  # of the library: the other forms have errors to show
        print("FAILED", name, library, variant, dtype, shape, str(error).splitlines()[:1], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", default=list(LIBRARIES), metavar="LIBRARY")
    parser.add_argument("--part", default="1/1", metavar="K/N")
    asked = parser.parse_args()
    main(asked.libraries, *map(int, asked.part.split("/")))
