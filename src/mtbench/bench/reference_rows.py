"""How many rows of a batch have a reference: the worker computes them, the controller estimates their memory."""

import numpy as np

from mtbench.operators.base import Operator, Shape

REFERENCE_FLOPS = 2e9
"""Work spent on one reference, at most, where rows can be checked singly: about 0.2 s of float64 on two cores."""

REFERENCE_BYTES = 1 << 30
"""Host memory of one reference, in float64, at most, where rows can be checked singly."""


def reference_rows(problem: Operator, shape: Shape) -> int:
    """Whole rows of the batch: all of them where they depend on each other, else as many as are affordable, two or more."""
    if not problem.independent_rows:
        return shape.batch_size
    flops = (problem.flops(shape) or 0.0) / shape.batch_size
    row_bytes = (problem.host_bytes(shape) - problem.weight_bytes("float64")) / shape.batch_size
    affordable = min(REFERENCE_FLOPS / max(flops, 1.0), REFERENCE_BYTES / max(row_bytes, 1.0))
    return int(np.clip(affordable, min(2, shape.batch_size), shape.batch_size))
