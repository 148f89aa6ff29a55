"""The correctness gate's measure: an answer against the float64 reference. No number without a passed check.

Three errors, since each hides what the others show. `norm`, ||out - ref|| / ||ref|| over all outputs, tells a lower precision
from a higher one. `row` finds one wrong token or head in a large batch. It is the worst row's root mean square error, relative
to the row's own root mean square (or to a tenth of the whole output's where that is larger). `element` finds one wrong number.
It is the worst value's error, relative to the same or to the value itself, whichever is larger.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import ConfigError, Unsupported
from mtbench.operators._inputs import sound_inputs
from mtbench.operators.base import Host, Operator, Shape
from mtbench.plan.accuracy import Errors, Limits
from mtbench.reference import PART, Draws, array_namespace, round_to, wide

SHORTEST_ROW = 16
"""The fewest values of a row. A row is the last axis of an output, joined with the axes before it until it has this many: the
root mean square of only a few values may be close to 0 by chance."""

SMALL_ROW = 0.1
"""A row's error is relative to this part of the whole output's root mean square at least."""

WRONG_RESULTS = {
    "float32": ("float64", "float16", "bfloat16"),
    "float16": ("float64", "bfloat16"),
    "bfloat16": ("float64", "float16"),
}
"""Dtypes of results that show that other work was done than the cell's."""

SMALLEST_NORMAL = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
"""A GPU may flush smaller values to 0, even where no other value may change."""


class Mismatch(Exception):
    """A wrong answer; `errors` are those of the answer where there is one."""

    def __init__(self, reason: str, errors: Errors | None = None) -> None:
        super().__init__(reason)
        self.errors = errors


@dataclass(frozen=True)
class Case:
    """Inputs and weights, rounded to the dtype but held as float64, large ones narrower (mtbench.reference), in the order in
    which the operator takes them."""

    inputs: dict[str, Host]
    weights: dict[str, Host]

    def rows(self, rows: NDArray[np.int64]) -> "Case":
        """The same with these batch rows."""
        return Case({name: values[rows] for name, values in self.inputs.items()}, self.weights)


def draw(problem: Operator, shape: Shape, dtype: str, seed: int, inputs_seed: int | None = None) -> Case:
    """The inputs and weights of a cell: the same in every worker for the same seeds.

    `inputs_seed` draws other inputs for the same weights.
    """
    weights_rng = Draws([seed, 0], dtype)
    inputs_rng = Draws([seed if inputs_seed is None else inputs_seed, 1], dtype)
    weights = {name: round_to(values, dtype) for name, values in problem.weights(weights_rng).items()}
    drawn = problem.inputs(inputs_rng, shape)
    sound_inputs(type(problem).__name__, drawn)
    return Case(rounded(drawn, dtype), weights)


def rounded(inputs: dict[str, Host], dtype: str) -> dict[str, Host]:
    return {name: round_to(values, dtype) for name, values in inputs.items()}


def reference_of_rows(problem: Operator, shape: Shape, case: Case, rows: NDArray[np.int64]) -> list[Host]:
    """The definition on some rows of the batch. Raises ConfigError where that cannot be, since the operator mixes rows."""
    for name, values in case.inputs.items():
        if values.shape[:1] != (shape.batch_size,):
            raise _mixing(problem, f"axis 0 of its input {name}, of shape {values.shape}, is not the batch")
    try:
        out = reference(problem, case.rows(rows))
    except (MemoryError, ConfigError, Unsupported):
        raise
    except Exception as error:
        raise _mixing(problem, f"its definition fails on some rows alone ({type(error).__name__}: {error})") from error
    for leaf in out:
        if leaf.shape[:1] != (len(rows),):
            raise _mixing(problem, f"of {len(rows)} rows it makes an output of shape {leaf.shape}")
    return out


def check_independence(
    problem: Operator, shape: Shape, case: Case, rows: NDArray[np.int64], expected: list[Host]
) -> None:
    """Computes the reference of one row alone, and compares it with that of the same row among others. Raises ConfigError where
    they differ: the operator mixes rows, although it is said to have independent ones, so the reference may be what is
    wrong."""
    alone = reference_of_rows(problem, shape, case, rows[:1])
    for one, several in zip(alone, expected, strict=True):
        rounding = 1e-9 * np.nanmax(np.abs(several), initial=0)
        if not np.allclose(one, several[:1], rtol=0, atol=rounding, equal_nan=True):
            raise _mixing(problem, "a row of its output changes when other rows are left out")


def _mixing(problem: Operator, why: str) -> ConfigError:
    what = (
        f"{type(problem).__name__} has independent_rows = True, but {why}; set independent_rows = False in its class."
    )
    return ConfigError(" ".join(what.split()))


def reference(problem: Operator, case: Case) -> list[Host]:
    """The operator's definition in float64."""
    inputs = [wide(values.copy() if problem.updates_inputs else values) for values in case.inputs.values()]
    weights = {name: wide(each) if isinstance(each, np.ndarray) else each for name, each in case.weights.items()}
    out = problem.portable(array_namespace(), SimpleNamespace(**weights), *inputs)
    return [np.asarray(leaf) for leaf in (out if isinstance(out, (tuple, list)) else [out])]


def check_dtype(found: str, dtype: str, computes_in_dtype: bool = True) -> None:
    """Raises Mismatch where a result's dtype shows that other work was done than the cell's: float64 is other work, and a
    narrower dtype is less. float32 results of half-precision values, such as losses, are allowed. `computes_in_dtype` is False
    for an operator that computes in narrower types on purpose."""
    wrong = WRONG_RESULTS[dtype] if computes_in_dtype else ("float64",)
    if found in wrong:
        raise Mismatch(f"the result is in {found}, but the cell in {dtype}")


def check_form(outputs: list[Host], shapes: list[tuple[int, ...]]) -> None:
    """Raises Mismatch where the outputs' number or shapes are wrong, or a value is NaN or infinite."""
    if len(outputs) != len(shapes):
        raise Mismatch(f"{len(outputs)} output arrays where the reference has {len(shapes)}")
    for out, shape in zip(outputs, shapes, strict=True):
        if out.shape != shape:
            raise Mismatch(f"an output of shape {out.shape} where the reference has {shape}")
        if not np.isfinite(out).all():
            raise Mismatch(f"{np.count_nonzero(~np.isfinite(out))} of {out.size} output values are NaN or infinite")


def compare(
    problem: Operator,
    dtype: str,
    limits: Limits,
    outputs: list[Host],
    expected: list[Host],
    rows: NDArray[np.int64] | None = None,
) -> Errors:
    """The errors of outputs of the right form. Raises Mismatch where one is too large, which says where.

    `rows` are the batch rows that these are, where they are not all. Indices must be the very ones of the reference, and so
    must all values of an operator that is exact: a near one is wrong, too.
    """
    found = [_errors(out, ref) for out, ref in zip(outputs, expected, strict=True)]
    difference = sum(each.difference for each in found)
    size = sum(each.size for each in found)
    errors = Errors(
        float(np.sqrt(difference / size)) if size > 0 else float(np.sqrt(difference)),
        max(float(each.rows.max(initial=0.0)) for each in found),
        max(each.element for each in found),
    )

    def where(index: int) -> str:
        return _place(problem, outputs, expected, index, found[index].worst, rows)

    for index, (out, ref) in enumerate(zip(outputs, expected, strict=True)):
        indices = np.issubdtype(ref.dtype, np.integer)
        if indices or limits.exact:
            flushed = (out == 0) & (np.abs(ref) < SMALLEST_NORMAL.get(dtype, 0.0))
            wrong = int(np.count_nonzero((out != ref) & ~flushed))
            if wrong:
                what = "indices" if indices else "values"
                raise Mismatch(f"{wrong} of {ref.size} {what} are not those of the reference, {where(index)}", errors)
    if errors.norm > limits.norm:
        index = max(range(len(found)), key=lambda each: found[each].difference)
        raise Mismatch(
            f"relative error {errors.norm:.2g} exceeds the tolerance {limits.norm:.2g}, worst {where(index)}", errors
        )
    for index, each in enumerate(found):
        allowed = limits.element_among(
            expected[index].size, float(np.sqrt(np.mean(each.rows**2))) if each.rows.size else 0
        )
        if each.element > allowed:
            raise Mismatch(
                f"an element's error {each.element:.2g} exceeds the tolerance {allowed:.2g}, {where(index)}", errors
            )
        if (worst := float(each.rows.max(initial=0.0))) > limits.row:
            wrong_rows = np.count_nonzero(each.rows > limits.row)
            raise Mismatch(
                f"a row's error {worst:.2g} exceeds the tolerance {limits.row:.2g} in {wrong_rows} of {each.rows.size} rows, "
                f"worst {where(index)}",
                errors,
            )
    return errors


@dataclass(frozen=True)
class _OfOne:
    """Of one output: the sums of squares, each row's error, the worst element's, and where that is, as a flat index."""

    difference: float
    size: float
    rows: NDArray[np.float64]
    element: float
    worst: int


def _errors(out: Host, ref: Host) -> _OfOne:
    if not ref.size:
        return _OfOne(0.0, 0.0, np.zeros(0), 0.0, 0)
    width = row_length(ref.shape)
    found, wanted = out.reshape(-1, width), ref.reshape(-1, width)
    step = max(1, PART // width)  # in parts, since differences are float64 of an answer's size
    parts = [slice(start, start + step) for start in range(0, len(wanted), step)]
    sizes = np.concatenate([_squares(wanted[part].astype(np.float64, copy=False)) for part in parts])
    whole = float(np.sqrt(sizes.sum() / ref.size)) or 1.0
    scale = np.maximum(np.sqrt(sizes / width), SMALL_ROW * whole)
    squares, element, worst = np.zeros(len(wanted)), -1.0, 0
    for part in parts:
        expected = wanted[part].astype(np.float64, copy=False)
        difference = found[part] - expected
        squares[part] = _squares(difference)
        relative = np.abs(difference, out=difference)
        relative /= np.maximum(scale[part, None], np.abs(expected))
        index = int(relative.argmax())
        if not relative.flat[index] <= element:  # NaN is the worst
            element, worst = float(relative.flat[index]), part.start * width + index
        if np.isnan(element):
            break
    rows = np.sqrt(squares / width) / scale
    return _OfOne(float(squares.sum()), float(sizes.sum()), rows, element, worst)


def _squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of squares of each row."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def row_length(shape: tuple[int, ...]) -> int:
    """The values of a row of an output of this shape: see SHORTEST_ROW."""
    length = 1
    for side in reversed(shape):
        if length >= SHORTEST_ROW:
            break
        length *= side
    return length


def _place(
    problem: Operator,
    outputs: list[Host],
    expected: list[Host],
    index: int,
    flat: int,
    rows: NDArray[np.int64] | None,
) -> str:
    """An element by the names of its axes, and its value and the reference's."""
    shape = expected[index].shape
    at: list[Any] = [int(position) for position in np.unravel_index(flat, shape)] if shape else []
    names = problem.output_axes(len(shape))
    values = f"{outputs[index].flat[flat]:.4g} instead of {expected[index].flat[flat]:.4g}"
    if at and rows is not None:
        at[0] = int(rows[at[0]])
    said = [f"{name} {position}" for name, position in zip(names, at, strict=True)]
    if len(outputs) > 1:
        said.insert(0, f"output {index}")
    return f"at {', '.join(said)}: {values}" if said else values
