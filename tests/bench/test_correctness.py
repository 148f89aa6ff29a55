"""The correctness gate by itself."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtbench.bench import wire
from mtbench.bench.worker import correctness, worker
from mtbench.errors import ConfigError
from mtbench.frameworks.base import Settings
from mtbench.operators.base import Host, Operator, Shape
from mtbench.plan.protocol import Protocol


def test_an_index_beside_the_right_one_is_a_mismatch() -> None:
    # in a norm it would be next to nothing
    indices = np.arange(1000, 1100)
    expected = correctness.Expected(np.arange(100), [indices])
    assert correctness.check([indices.astype(float)], expected, 100, 2e-2) == 0
    with pytest.raises(correctness.Mismatch, match="1 of 100 indices are not those of the reference"):
        correctness.check([indices + (indices == 1050)], expected, 100, 2e-2)


def test_values_beside_the_right_ones_are_within_the_tolerance() -> None:
    values = np.arange(1000.0, 1100.0)
    expected = correctness.Expected(np.arange(100), [values])
    assert 0 < correctness.check([values + (values == 1050)], expected, 100, 2e-2) < 1e-4


@dataclass(frozen=True)
class Rows(Operator):
    """Works on the rows of a batch in the way that `how` names."""

    how: str = "alone"

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        table = {"table": rng.standard_normal(shape.seq_len)} if self.how == "by a table" else {}
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))} | table

    def flops(self, shape: Shape) -> float:
        return 1e9 * shape.batch_size

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return 8.0 * shape.batch_size * shape.seq_len

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        x, *table = inputs
        if self.how == "their sum":
            return xp.sum(x, axis=0)
        if self.how == "less their mean":
            return x - xp.mean(x, axis=0)
        if self.how == "by position":
            return x + xp.reshape(xp.arange(8.0), (8, 1))
        return x * table[0] if table else 2 * x


@dataclass(frozen=True)
class Mixing(Rows):
    independent_rows = False


def checked(problem: Operator, shape: Shape) -> correctness.Expected:
    """What the worker does with an answer that is right and one that is not."""
    case = correctness.draw(problem, shape, "float32", 0)
    expected = correctness.expect(problem, shape, case)
    out = problem.portable(np, SimpleNamespace(), *case.inputs.values())
    correctness.check_first([out], expected, problem, shape, case, 1e-6)
    with pytest.raises(correctness.Mismatch):  # a wrong answer is not taken for mixing
        correctness.check_first([out + 1], expected, problem, shape, case, 1e-6)
    return expected


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("their sum", "of 2 rows it makes an output of shape (5,)"),
        ("less their mean", "a row of its output is another one where other rows are left out"),
        ("by position", "its definition fails on some rows alone (ValueError: operands could not be broadcast"),
        ("by a table", "axis 0 of its input table, of shape (5,), is not the batch"),
    ],
)
def test_an_operator_that_mixes_rows_is_told_in_a_line_which_attribute_to_set(how: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(Rows(how), Shape(8, 5))
    line = str(refused.value)
    assert line.startswith(f"Rows has independent_rows = True, but {says}")
    assert line.endswith("; set independent_rows = False in its class.")
    assert "\n" not in line
    assert len(checked(Mixing(how), Shape(8, 5)).rows) == 8


def test_independent_rows_are_checked_on_some_of_them() -> None:
    assert list(checked(Rows(), Shape(8, 5)).rows) == [0, 7]
    assert list(checked(Rows(), Shape(1, 5)).rows) == [0]


def test_a_worker_says_in_a_line_that_an_operator_mixes_rows() -> None:
    served = worker.Worker()
    start = wire.Start("numpy", None, "eager", Settings("cpu"), Protocol(warmup_cap_s=0.05))
    assert isinstance(worker.answer(served, start), wire.Started)
    file = str(Path(__file__).parent / "user" / "operator" / "centred.py")
    answer = worker.answer(served, wire.Prepare("centred", file, {}, "native", "float32", Shape(8, 5), 1e-6))
    assert answer.status == "failed"
    assert answer.reason.startswith("Centred has independent_rows = True, but a row of its output is another one")
    assert "\n" not in answer.reason
