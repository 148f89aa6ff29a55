"""The worst errors of all right forms: `python tests/worst_errors.py [DEVICE] [DTYPE ...]`, a table by dtype and library.

Limits are set by it: what every form of every operator reaches on a machine must lie below them with a margin. It shows each
operator whose errors are more than half of a limit, for the inputs that are timed and for those that tell.
"""

import sys
from collections import defaultdict

import numpy as np
from operator_cases import (
    ARMS,
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
from mtbench.errors import Unsupported
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Errors

LARGER = (Shape(2, 128), Shape(1, 1, 1024), Shape(2, 64, 512))
"""Beside the tests' small ones, where sums are longer."""


def main(device: str, dtypes: list[str]) -> None:
    worst: dict[tuple[str, str], Errors] = defaultdict(Errors)
    near: dict[tuple[str, str, str], Errors] = defaultdict(Errors)
    counted: dict[tuple[str, str], int] = defaultdict(int)
    for name, library, variant in ARMS:
        for dtype in dtypes:
            if not has(library, dtype):
                continue
            wanted = [] if name == "causal_lm" else [(default(name), shape) for shape in shapes(default(name), *LARGER)]
            for problem, shape in [*cases(name, library, dtype), *wanted]:
                drawn, weights = draw(problem, shape, dtype)
                telling = problem.telling_inputs(np.random.default_rng(1), shape)
                sets = [drawn] + ([] if telling is None else [list(rounded(telling, dtype).values())])
                try:
                    call = build(problem, library, variant, weights, dtype)
                    for inputs in sets:
                        out = outputs(call, library, inputs, dtype)
                        try:
                            found = errors(problem, out, references(problem, inputs, weights), dtype, name)
                        except Mismatch as error:
                            print("MISMATCH", name, library, variant, dtype, shape, error, flush=True)
                            found = error.errors or Errors()
                        worst[dtype, library] = worst[dtype, library].worst(found)
                        counted[dtype, library] += 1
                        limit = limits(name, dtype)
                        if (
                            found.norm > limit.norm / 2
                            or found.row > limit.row / 2
                            or found.element > limit.element / 2
                        ):
                            near[name, library, dtype] = near[name, library, dtype].worst(found)
                except Unsupported:
                    continue
    print("| dtype | library | results | norm | row | element |\n|---|---|---|---|---|---|")
    for (dtype, library), found in sorted(worst.items()):
        shown = " | ".join(f"{value:.1e}" for value in (found.norm, found.row, found.element))
        print(f"| {dtype} | {library} | {counted[dtype, library]} | {shown} |")
    for (name, library, dtype), found in sorted(near.items()):
        print(f"near a limit: {name} {library} {dtype} {found} of {limits(name, dtype)}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "cpu", given[1:] or list(TOLERANCES))
