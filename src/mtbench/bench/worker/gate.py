"""The correctness gate: every row of every output that is checked is compared with an answer.

A reference of a whole batch may cost more than measuring does. So where rows are independent, it is computed for some rows
only, which are drawn at random, anew in each restart. The other rows are checked, too:

- Each row of the timed inputs without a reference is computed once more, untimed, in another place of the batch.
- Other inputs fill the batch with repetitions of the rows that have a reference, in random order, and every row is compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.bench.reference_rows import reference_rows
from mtbench.bench.worker import correctness, divergence
from mtbench.bench.worker.correctness import Case, Mismatch
from mtbench.frameworks.base import Framework
from mtbench.operators.base import Host, Operator, Shape
from mtbench.plan.accuracy import Divergence, Errors, Limits
from mtbench.reference import Draws, is_large, parts, round_to

OTHER_PLACE = 2
"""Two right answers may differ by this many times the error that each may have."""

TELLING = 2
"""How many times the usual tolerances telling inputs have. Right answers were off by up to 1.2 times the tolerances (attention
by its definition, in bfloat16), wrong ones by 8 to 80 times."""

Call = Callable[..., Any]


class Gate:
    """Checks one job's outputs. `seed` decides on the rows that have a reference, and on the other inputs."""

    def __init__(
        self,
        framework: Framework,
        problem: Operator,
        shape: Shape,
        dtype: str,
        limits: Limits,
        weights_seed: int,
        seed: int,
    ) -> None:
        self.framework = framework
        self.problem = problem
        self.shape = shape
        self.dtype = dtype
        self.limits = Limits(limits.norm, limits.row, problem.exact)
        self.weights_seed = weights_seed
        self.seed = seed
        self.rng = np.random.default_rng([seed, 2])
        count = self._rows_with_reference()
        self.whole = count == shape.batch_size
        self.rows = np.sort(self.rng.choice(shape.batch_size, count, replace=False))
        self.expected: list[Host] = []
        self.elsewhere: list[Host] | None = None
        self.inputs: list[Host] = []
        self.own_weights: Mapping[str, Any] = {}
        self.divergence: Divergence | None = None

    def _rows_with_reference(self) -> int:
        return reference_rows(self.problem, self.shape)

    def hold(self, call: Call) -> None:
        """Takes the weights of a call that rounds them in its own way, such as one that quantises them (`own_weights`). Its
        reference is computed with these, besides those that it was given."""
        self.own_weights = getattr(call, "own_weights", {})

    def _held(self, case: Case) -> Case:
        return Case(case.inputs, case.weights | dict(self.own_weights))

    def _note_divergence(self, out: Any, case: Case, rows: NDArray[np.int64] | None) -> None:
        """Notes how far this output is from that of the original weights."""
        if self.own_weights and self.problem.quantises:
            (before,) = correctness.reference(self.problem, case if rows is None else case.rows(rows))
            (logits,) = _of(self._host(out), rows)
            self.divergence = divergence.of(logits, before, self.problem.has_trained_weights)

    def draw(self) -> Case:
        """The inputs that are timed, and the weights."""
        return correctness.draw(self.problem, self.shape, self.dtype, self.weights_seed)

    def first(self, run: Call, out: Any, case: Case) -> Errors:
        """Checks the first output of the timed inputs, and one of the rows in other places. `run` completes a call.

        Raises Mismatch, as the other checks do.
        """
        given, case = case, self._held(case)
        self.expected = self._expect(case, self.rows)
        if type(self.problem).compared is not Operator.compared:
            self.inputs = list(case.inputs.values())
        try:
            errors = self.again(out)
        except Mismatch:
            if not self.whole:
                correctness.check_independence(self.problem, self.shape, case, self.rows, self.expected)
            raise
        self._note_divergence(out, given, None if self.whole else self.rows)
        if self.whole or self.problem.kept_inputs:
            return errors
        order = np.empty(self.shape.batch_size, np.int64)
        around = self.rng.permutation(self.shape.batch_size)
        order[around] = np.roll(around, 1)  # no row stays where it was
        moved = self._host(run(*self.arrays(case.rows(order))))
        correctness.check_form(moved, self._shapes(self.expected))
        self.elsewhere = [np.empty(each.shape, np.float32) for each in moved]
        for place, each in zip(self.elsewhere, moved, strict=True):
            place[order] = each
        return errors.worst(self.again(out))

    def _expect(self, case: Case, rows: NDArray[np.int64]) -> list[Host]:
        if self.whole:
            return correctness.reference(self.problem, case)
        return correctness.reference_of_rows(self.problem, self.shape, case, rows)

    def again(self, out: Any) -> Errors:
        """Checks an output of the timed inputs."""
        outputs = self._host(out)
        rows = None if self.whole else self.rows
        correctness.check_form(outputs, self._shapes(self.expected))
        errors = self._compare(_of(outputs, rows), self.expected, _of(self.inputs, rows), rows)
        if self.elsewhere is None:
            return errors
        others = np.setdiff1d(np.arange(self.shape.batch_size), self.rows)
        found, moved = _of(outputs, others), _of(self.elsewhere, others)
        self._compare(found, moved, _of(self.inputs, others), others, self.limits.times(OTHER_PLACE))
        return errors

    def other(self, telling: bool = False) -> tuple[Case, "Others"] | None:
        """Inputs that the call has not seen, and the check of their outputs. With `telling`, the operator's telling inputs,
        which show mistakes that are too small elsewhere; None where it has none."""
        rng = Draws([self.seed, 3 + telling], self.dtype)
        problem, shape, dtype = self.problem, self.shape, self.dtype
        drawn = problem.telling_inputs(rng, shape, dtype) if telling else problem.inputs(rng, shape)
        if drawn is None:
            return None
        limits = self.limits.times(TELLING if telling else 1)
        weights = {
            name: round_to(values, self.dtype)
            for name, values in self.problem.weights(Draws([self.weights_seed, 0], self.dtype)).items()
        }
        case = self._held(Case(correctness.rounded(drawn, self.dtype), weights))
        if self.whole:
            return case, Others(self, case, correctness.reference(self.problem, case), limits)
        rows = np.sort(rng.choice(self.shape.batch_size, len(self.rows), replace=False))
        expected = self._expect(case, rows)
        filled, source = self._filled(case.rows(rows))
        return filled, Others(self, filled, [_repeated(each, source) for each in expected], limits)

    def arrays(self, case: Case) -> list[Any]:
        return [self.framework.array(host, self.dtype) for host in case.inputs.values()]

    def _filled(self, some: Case) -> tuple[Case, NDArray[np.int64]]:
        """A whole batch of these rows, each as often as any other, in random order; and which row stands where."""
        source = self.rng.permutation(np.resize(np.arange(len(self.rows)), self.shape.batch_size))
        return some.rows(source), source

    def _check_all(self, out: Any, case: Case, expected: list[Host], limits: Limits | None = None) -> Errors:
        outputs = self._host(out)
        correctness.check_form(outputs, [each.shape for each in expected])
        return self._compare(outputs, expected, list(case.inputs.values()), None, limits)

    def _compare(
        self,
        outputs: Sequence[Host],
        expected: Sequence[Host],
        inputs: Sequence[Host],
        rows: NDArray[np.int64] | None,
        limits: Limits | None = None,
    ) -> Errors:
        problem = self.problem
        out, ref = (problem.compared(list(each), list(inputs)) for each in (outputs, expected))
        return correctness.compare(problem, self.dtype, limits or self.limits, out, ref, rows)

    def _shapes(self, expected: list[Host]) -> list[tuple[int, ...]]:
        return [each.shape if self.whole else (self.shape.batch_size, *each.shape[1:]) for each in expected]

    def _host(self, out: Any) -> list[Host]:
        try:
            leaves = self.framework.leaves(out)
        except TypeError as error:
            raise Mismatch(str(error)) from error
        for leaf in leaves:
            found = str(leaf.dtype).rpartition(".")[2]  # torch.float32, mlx.core.float32, float32
            correctness.check_dtype(found, self.dtype, self.problem.computes_in_dtype)
        return [self._to_host(leaf) for leaf in leaves]

    def _to_host(self, leaf: Any) -> Host:
        """As float64; a large array in parts, and as float32 if that holds its values exactly."""
        if not is_large(tuple(leaf.shape)):
            return self.framework.host(leaf)
        flat, held = leaf.reshape(-1), np.empty(tuple(leaf.shape), np.float32)
        for part in parts(held.size):
            values = self.framework.host(flat[part])
            held.reshape(-1)[part] = values
            if not np.array_equal(held.reshape(-1)[part], values, equal_nan=True):
                return self.framework.host(leaf)
        return held


class Unchecked(Gate):
    """The gate of what cannot be checked (`Framework.unverified`): it draws the inputs, and checks nothing."""

    def _rows_with_reference(self) -> int:
        return 0

    def first(self, run: Call, out: Any, case: Case) -> Errors:
        return Errors()

    def again(self, out: Any) -> Errors:
        return Errors()


def gate_for(framework: Framework, *of: Any) -> Gate:
    """The gate of what a framework answers, from the rest of a Gate's arguments."""
    return (Gate if framework.unverified is None else Unchecked)(framework, *of)


class Others:
    """The answers of inputs that the call had not seen."""

    def __init__(self, gate: Gate, case: Case, expected: list[Host], limits: Limits) -> None:
        self.gate, self.case, self.expected, self.limits = gate, case, expected, limits

    def check(self, out: Any) -> Errors:
        try:
            return self.gate._check_all(out, self.case, self.expected, self.limits)
        except Mismatch as error:
            raise Mismatch(f"on other inputs than those it was timed with: {error}", error.errors) from error


def _repeated(expected: Host, source: NDArray[np.int64]) -> Host:
    """The expected rows of a whole batch; `source` has the number of each one's row in `expected`. They are float32 for a large
    batch, as its outputs are."""
    large = is_large((len(source), *expected.shape[1:])) and np.issubdtype(expected.dtype, np.floating)
    return (expected.astype(np.float32) if large else expected)[source]


def _of(arrays: Sequence[Host], rows: NDArray[np.int64] | None) -> list[Host]:
    return list(arrays) if rows is None else [each[rows] for each in arrays]
