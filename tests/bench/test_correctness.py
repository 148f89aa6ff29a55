"""The correctness gate by itself: what each of the three errors sees, and where a mismatch says that it is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtbench.bench import wire
from mtbench.bench.worker import correctness, worker
from mtbench.bench.worker.gate import Gate
from mtbench.errors import ConfigError
from mtbench.frameworks.base import Settings
from mtbench.frameworks.numpy import NumPy
from mtbench.operators.argmax import Argmax
from mtbench.operators.base import Host, Operator, Shape
from mtbench.operators.layer_norm import LayerNorm
from mtbench.operators.linear import Linear
from mtbench.operators.relu import Relu
from mtbench.operators.rms_norm import RmsNorm
from mtbench.operators.rope import RotaryEmbedding
from mtbench.operators.sdpa import ScaledDotProductAttention
from mtbench.plan.accuracy import Errors, Limits
from mtbench.plan.protocol import Protocol

BFLOAT16 = Limits(1.2e-2, 2e-2)
FLOAT32 = Limits(1e-5, 1e-5)


def compare(problem: Operator, out: Host, expected: Host, limits: Limits = BFLOAT16) -> Errors:
    limits = Limits(limits.norm, limits.row, problem.exact)
    return correctness.compare(problem, "bfloat16", limits, [out], [expected])


def test_an_index_beside_the_right_one_is_a_mismatch() -> None:
    # in a norm it would be next to nothing
    indices = np.arange(1000, 1100).reshape(10, 10)
    assert compare(Argmax(), indices.astype(float), indices) == Errors()
    with pytest.raises(
        correctness.Mismatch, match=r"1 of 100 indices are not those of the reference, at batch 5, token 0"
    ):
        compare(Argmax(), indices + (indices == 1050), indices)


def test_an_exact_operator_may_not_round_and_may_flush_what_no_gpu_keeps() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 64))
    x[0, 0, 0] = 1e-40
    assert compare(Relu(), np.where(np.abs(x) < 1e-38, 0, x), x).element <= 1
    near = x.copy()
    near[1, 2, 3] *= 1 + 1e-6
    with pytest.raises(correctness.Mismatch, match=r"1 of 384 values .*, at batch 1, token 2, feature 3"):
        compare(Relu(), near, x)
    compare(Linear(), near, x)


def wrong(change: Callable[[Host], Any]) -> tuple[Host, Host]:
    """Attention's output of 2 x 4 heads x 512 tokens, and the same where something small is wrong."""
    ref = np.random.default_rng(0).standard_normal((2, 4, 512, 32))
    out = ref * (1 + 2e-3 * np.random.default_rng(1).standard_normal(ref.shape))
    change(out)
    return out, ref


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda out: out[1, 2, 511].fill(0), r"batch 1, head 2, token 511"),
        (
            lambda out: out[0, 3, 7].__imul__(1.05),
            r"a row's error .* in 1 of 4096 rows, worst at batch 0, head 3, token 7",
        ),
        (lambda out: out[1, 1, 9].put(4, 8.0), r"batch 1, head 1, token 9, feature 4: 8 instead of"),
        (lambda out: out[1, 1, 9].put(4, 2 * out[1, 1, 9, 4]), r"batch 1, head 1, token 9, feature 4"),
        (lambda out: out.__imul__(1.015), r"relative error 0.015 exceeds the tolerance 0.012"),
    ],
)
def test_what_a_norm_over_all_hides_is_seen_and_found(change: Callable[[Host], Any], where: str) -> None:
    out, ref = wrong(lambda out: None)
    right = compare(ScaledDotProductAttention(), out, ref)
    assert right.norm < 3e-3
    out, ref = wrong(change)
    with pytest.raises(correctness.Mismatch, match=where) as caught:
        compare(ScaledDotProductAttention(), out, ref)
    assert caught.value.errors is not None


def test_one_value_of_a_long_row_is_seen_by_the_elements_error_alone() -> None:
    ref = np.random.default_rng(0).standard_normal((4, 8, 768))
    out = ref.copy()
    ref[2, 3, 5], out[2, 3, 5] = 0.1, 0.2
    assert correctness.compare(Linear(), "bfloat16", Limits(1, 1), [out], [ref]).row < 5e-3
    with pytest.raises(
        correctness.Mismatch, match=r"an element's error 0.1 .* batch 2, token 3, feature 5: 0.2 instead of 0.1"
    ):
        compare(Linear(), out, ref)


def rounded_logits(error: float, width: int = 50_000) -> tuple[Host, Host]:
    """A row of logits, and the same with rounding errors of this root mean square, relative to the row's."""
    ref = np.random.default_rng(0).standard_normal((1, width))
    return ref + error * np.random.default_rng(1).standard_normal(ref.shape), ref


def test_the_largest_of_many_rounding_errors_is_no_mistake() -> None:
    # 50,000 logits that are off by 0.7 of what a row may be: the largest error is 4.2 times the root mean square
    out, ref = rounded_logits(0.7 * 2e-2)
    limits = Limits(2e-2, 2e-2)
    found = compare(Linear(), out, ref, limits)
    assert found.row < limits.row
    assert found.element > limits.element
    # nor is it in a result of few elements, where it is smaller
    assert limits.element_among(64, 0.7 * 2e-2) < limits.element_among(50_000, 0.7 * 2e-2)
    assert limits.element_among(64, 0.3 * 2e-2) == limits.element


@pytest.mark.parametrize("error", [0.1, 0.3, 0.7])
def test_a_wrong_logit_among_many_is_seen_beside_their_rounding(error: float) -> None:
    out, ref = rounded_logits(error * 2e-2)
    limits = Limits(2e-2, 2e-2)
    compare(Linear(), out, ref, limits)
    ref[0, 1234], out[0, 1234] = 0.5, 0.61
    with pytest.raises(correctness.Mismatch, match=r"an element's error 0.11 .* 1234: 0.61 instead of 0.5"):
        compare(Linear(), out, ref, limits)


def test_rows_too_short_to_have_a_size_are_taken_together() -> None:
    # one value near 0 is no row: its error would be judged by its own size
    ref = np.array([[1.0, -1.0, 1e-6, 1.0]] * 8)[..., None]
    assert correctness.row_length(ref.shape) == 32
    assert compare(Linear(), ref + 1e-3, ref).row < 2e-3
    assert correctness.row_length((3, 768)) == 768
    assert correctness.row_length(()) == 1


@dataclass(frozen=True)
class Unordered(Operator):
    """The three largest values of each row, in any order."""

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape: Shape) -> float:
        return 1.0

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return 1.0

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        return xp.sort(inputs[0], axis=-1)[:, -3:]

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        assert inputs[0].shape[0] == outputs[0].shape[0]
        return [np.sort(outputs[0], axis=-1)]


@dataclass(frozen=True)
class FewRows(Linear):
    """A linear layer whose reference costs so much that 3 rows of a batch get one."""

    def flops(self, shape: Shape) -> float:
        return 0.65e9 * shape.batch_size


def gate(problem: Operator, shape: Shape, seed: int = 1, limits: Limits = FLOAT32) -> Gate:
    return Gate(NumPy(Settings()), problem, shape, "float32", limits, 0, seed)


def run_gate(one: Gate, form: Callable[..., Any]) -> Errors:
    case = one.draw()
    return one.first(form, form(*one.arrays(case)), case)


def test_an_operator_may_say_how_its_answers_are_compared() -> None:
    one = gate(Unordered(), Shape(4, 32))
    run_gate(one, lambda x: np.partition(x, 29, axis=-1)[:, :28:-1].copy())
    with pytest.raises(correctness.Mismatch):
        run_gate(one, lambda x: np.partition(x, 29, axis=-1)[:, 28:31])


def linear(problem: Linear, one: Gate) -> Callable[[Any], Any]:
    weights = {name: value.astype(np.float32) for name, value in one.draw().weights.items()}
    return lambda x: x @ weights["weight"].T + weights["bias"]


@pytest.mark.parametrize("dropped", range(16))
def test_each_row_of_a_batch_is_held_against_an_answer(dropped: int) -> None:
    problem = FewRows(32)
    one = gate(problem, Shape(16, 4))
    assert len(one.rows) == 3
    right = linear(problem, one)
    assert run_gate(one, right).norm < 1e-6

    def without_a_row(x: Any) -> Any:
        out = right(x)
        out[dropped] = 0
        return out

    with pytest.raises(correctness.Mismatch):
        run_gate(gate(problem, Shape(16, 4)), without_a_row)
    one = gate(problem, Shape(16, 4))
    run_gate(one, right)
    case = one.draw()
    with pytest.raises(correctness.Mismatch, match=f"batch {dropped}"):  # of the last timed call
        one.again(without_a_row(*one.arrays(case)))
    found = one.other()
    assert found is not None
    others, answers = found
    answers.check(right(*one.arrays(others)))
    with pytest.raises(correctness.Mismatch, match="on other inputs"):
        answers.check(without_a_row(*one.arrays(others)))


def test_the_rows_with_a_reference_are_others_in_each_restart_and_the_same_for_all_arms() -> None:
    rows = [tuple(gate(FewRows(32), Shape(64, 4), seed).rows) for seed in range(20)]
    assert len(set(rows)) > 15
    assert rows == [tuple(gate(FewRows(32), Shape(64, 4), seed).rows) for seed in range(20)]


@pytest.mark.parametrize("problem", [RmsNorm(64), LayerNorm(64)])
def test_an_eps_of_the_wrong_size_shows_in_the_telling_inputs_of_a_norm(problem: Operator) -> None:
    one = gate(problem, Shape(2, 64))
    other = type(problem)(64, eps=10 * problem.eps)  # type: ignore[call-arg,attr-defined]
    weights = SimpleNamespace(**one.draw().weights)

    def form(eps: Operator) -> Callable[..., Any]:
        return lambda x: eps.portable(one.framework.xp, weights, x.astype(np.float64)).astype(np.float32)

    run_gate(one, form(problem))
    found = one.other(telling=True)
    assert found is not None
    case, answers = found
    assert answers.check(form(problem)(*one.arrays(case))).row < 1e-5
    with pytest.raises(correctness.Mismatch, match="on other inputs"):
        answers.check(form(other)(*one.arrays(case)))


@pytest.mark.parametrize("lost", [0, -1])
def test_a_lost_key_shows_in_the_telling_inputs_of_attention(lost: int) -> None:
    problem = ScaledDotProductAttention(64, 4)
    limits = Limits(7e-3, 2e-2)
    one = gate(problem, Shape(1, 2, 2048), limits=limits)

    def form(q: Any, k: Any, v: Any) -> Any:
        keep = slice(1, None) if lost == 0 else slice(None, -1)
        return problem.portable(one.framework.xp, SimpleNamespace(), q, k[:, :, keep], v[:, :, keep]).astype(np.float32)

    found = one.other(telling=True)
    assert found is not None
    case, answers = found
    with pytest.raises(correctness.Mismatch) as caught:
        answers.check(form(*one.arrays(case)))
    assert caught.value.errors is not None
    assert caught.value.errors.row > 0.3


def test_operators_without_telling_inputs_have_none() -> None:
    assert gate(RotaryEmbedding(), Shape(1, 4)).other(telling=True) is None


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
            return x + xp.reshape(xp.arange(8.0, dtype=x.dtype), (8, 1))
        return x * table[0] if table else 2 * x


@dataclass(frozen=True)
class Mixing(Rows):
    independent_rows = False


def checked(problem: Operator, shape: Shape) -> Gate:
    """What the worker does with an answer that is right and one that is not."""
    one = gate(problem, shape)
    case = one.draw()

    def form(*inputs: Any) -> Any:
        return problem.portable(np, SimpleNamespace(), *inputs)

    one.first(form, form(*one.arrays(case)), case)
    with pytest.raises(correctness.Mismatch):  # a wrong answer is not taken for mixing
        gate(problem, shape).first(form, form(*one.arrays(case)) + 1, case)
    return one


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("their sum", "of 2 rows it makes an output of shape (5,)"),
        ("less their mean", "a row of its output changes when other rows are left out"),
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
    assert len(checked(Rows(), Shape(8, 5)).rows) == 2
    assert list(checked(Rows(), Shape(1, 5)).rows) == [0]


def test_a_worker_says_in_a_line_that_an_operator_mixes_rows() -> None:
    served = worker.Worker()
    start = wire.Start("numpy", None, "eager", Settings("cpu"), Protocol(warmup_cap_s=0.05))
    assert isinstance(worker.answer(served, start), wire.Started)
    file = str(Path(__file__).parent / "user" / "operator" / "centred.py")
    answer = worker.answer(served, wire.Prepare("centred", file, {}, "native", "float32", Shape(8, 5), FLOAT32, 1))
    assert answer.status == "failed"
    assert answer.reason.startswith("Centred has independent_rows = True, but a row of its output changes")
    assert "\n" not in answer.reason
