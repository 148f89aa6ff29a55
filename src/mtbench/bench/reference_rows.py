"""How many rows of a batch have a reference: the worker computes them, the controller estimates their memory."""

import numpy as np

from mtbench.operators.base import Operator, Shape

REFERENCE_FLOPS = 2e9
"""Work spent on one reference, at most, where rows can be checked singly: about 0.2 s of float64 on two cores."""


def reference_rows(problem: Operator, shape: Shape) -> int:
    """Whole rows of the batch: all of them where they depend on each other, else as many as are affordable, two or more."""
    if not problem.independent_rows:
        return shape.batch_size
    per_row = problem.flops(shape) / shape.batch_size
    return int(np.clip(REFERENCE_FLOPS / max(per_row, 1.0), min(2, shape.batch_size), shape.batch_size))
