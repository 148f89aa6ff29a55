"""The correctness gate: an arm's output against the float64 reference. No number without a passed check."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from mtbench.bench.reference_rows import reference_rows
from mtbench.errors import ConfigError, Unsupported
from mtbench.operators.base import Host, Operator, Shape
from mtbench.reference import array_namespace, round_to


class Mismatch(Exception):
    """A wrong answer; `error` is the relative error where there is one."""

    def __init__(self, reason: str, error: float | None = None) -> None:
        super().__init__(reason)
        self.error = error


@dataclass(frozen=True)
class Case:
    """Inputs and weights, rounded to the dtype but held as float64, in the order in which the operator takes them."""

    inputs: dict[str, Host]
    weights: dict[str, Host]


@dataclass(frozen=True)
class Expected:
    """The reference of some batch rows: `outputs[i]` belongs to `out[rows]` of the i-th output array."""

    rows: NDArray[np.int64]
    outputs: list[Host]


def draw(problem: Operator, shape: Shape, dtype: str, seed: int, inputs_seed: int | None = None) -> Case:
    """The inputs and weights of a cell: the same in every worker for the same seeds.

    `inputs_seed` draws other inputs for the same weights.
    """
    weights_rng = np.random.default_rng([seed, 0])
    inputs_rng = np.random.default_rng([seed if inputs_seed is None else inputs_seed, 1])
    weights = {name: round_to(values, dtype) for name, values in problem.weights(weights_rng).items()}
    inputs = {name: round_to(values, dtype) for name, values in problem.inputs(inputs_rng, shape).items()}
    return Case(inputs, weights)


def expect(problem: Operator, shape: Shape, case: Case) -> Expected:
    """Runs the operator's definition in float64 on as many whole batch rows as are affordable, spread over the batch."""
    rows = np.unique(np.linspace(0, shape.batch_size - 1, reference_rows(problem, shape)).astype(np.int64))
    whole = len(rows) == shape.batch_size
    return Expected(rows, _define(problem, case, None) if whole else _of_rows(problem, shape, case, rows))


def check_first(
    outputs: list[Host], expected: Expected, problem: Operator, shape: Shape, case: Case, tolerance: float
) -> float:
    """As `check`, of a job's first answer. Raises ConfigError, and not Mismatch, where the answer may be right and the
    reference is not, since the operator is said to have independent rows and has not."""
    try:
        return check(outputs, expected, shape.batch_size, tolerance)
    except Mismatch:
        _check_rows(problem, shape, case, expected)
        raise


def _check_rows(problem: Operator, shape: Shape, case: Case, expected: Expected) -> None:
    """Takes one row's reference alone, where it was taken among others. Raises ConfigError where it is another one."""
    if len(expected.rows) == shape.batch_size:
        return
    alone = _of_rows(problem, shape, case, expected.rows[:1])
    for one, several in zip(alone, expected.outputs, strict=True):
        rounding = 1e-9 * np.nanmax(np.abs(several), initial=0)
        if not np.allclose(one, several[:1], rtol=0, atol=rounding, equal_nan=True):
            raise _mixing(problem, "a row of its output is another one where other rows are left out")


def _of_rows(problem: Operator, shape: Shape, case: Case, rows: NDArray[np.int64]) -> list[Host]:
    """The definition on some rows of the batch. Raises ConfigError where that cannot be."""
    for name, values in case.inputs.items():
        if values.shape[:1] != (shape.batch_size,):
            raise _mixing(problem, f"axis 0 of its input {name}, of shape {values.shape}, is not the batch")
    try:
        out = _define(problem, case, rows)
    except (MemoryError, ConfigError, Unsupported):
        raise
    except Exception as error:
        raise _mixing(problem, f"its definition fails on some rows alone ({type(error).__name__}: {error})") from error
    for leaf in out:
        if leaf.shape[:1] != (len(rows),):
            raise _mixing(problem, f"of {len(rows)} rows it makes an output of shape {leaf.shape}")
    return out


def _define(problem: Operator, case: Case, rows: NDArray[np.int64] | None) -> list[Host]:
    inputs = [values if rows is None else values[rows] for values in case.inputs.values()]
    out = problem.portable(array_namespace(), SimpleNamespace(**case.weights), *inputs)
    return [np.asarray(leaf) for leaf in (out if isinstance(out, (tuple, list)) else [out])]


def _mixing(problem: Operator, why: str) -> ConfigError:
    what = (
        f"{type(problem).__name__} has independent_rows = True, but {why}; set independent_rows = False in its class."
    )
    return ConfigError(" ".join(what.split()))


def check(outputs: list[Host], expected: Expected, batch_size: int, tolerance: float) -> float:
    """The relative error ||out - ref|| / ||ref|| (Frobenius norm over all outputs, of the rows that have a reference).

    Raises Mismatch where it exceeds the tolerance, or where the outputs' number, shapes or values (NaN) are wrong. Indices
    must be the very ones of the reference: a near one is wrong, too.
    """
    if len(outputs) != len(expected.outputs):
        raise Mismatch(f"{len(outputs)} output arrays where the reference has {len(expected.outputs)}")
    difference = reference = 0.0
    wrong = indices = 0
    for out, ref in zip(outputs, expected.outputs, strict=True):
        full_shape = (batch_size, *ref.shape[1:]) if len(expected.rows) < batch_size else ref.shape
        if out.shape != full_shape:
            raise Mismatch(f"an output of shape {out.shape} where the reference has {full_shape}")
        if not np.isfinite(out).all():
            raise Mismatch(f"{np.count_nonzero(~np.isfinite(out))} of {out.size} output values are NaN or infinite")
        rows = out[expected.rows] if len(expected.rows) < batch_size else out
        difference += float(np.square(rows - ref).sum())
        reference += float(np.square(ref).sum())
        if np.issubdtype(ref.dtype, np.integer):
            wrong += int(np.count_nonzero(rows != ref))
            indices += ref.size
    error = float(np.sqrt(difference / reference)) if reference > 0 else float(np.sqrt(difference))
    if wrong:
        raise Mismatch(f"{wrong} of {indices} indices are not those of the reference", error)
    if error > tolerance:
        raise Mismatch(f"relative error {error:.2g} exceeds the tolerance {tolerance:.2g}", error)
    return error
