"""Which faults the correctness gate sees: `python tests/operators/faults.py [--into docs/truth.md]`.

Each fault was once `ok`, since the norm over all outputs hides it. It is made in a result that is right up to the rounding of
its dtype, and judged by the operator's own limits.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from operator_cases import limits

from mtbench.bench.worker import correctness
from mtbench.bench.worker.correctness import Case, Mismatch, rounded
from mtbench.bench.worker.gate import TELLING
from mtbench.operators.base import Host, Operator, Shape
from mtbench.operators.layer_norm import LayerNorm
from mtbench.operators.linear import Linear
from mtbench.operators.rms_norm import RmsNorm
from mtbench.operators.rope import RotaryEmbedding
from mtbench.operators.sdpa import ScaledDotProductAttention
from mtbench.plan.accuracy import Errors, Limits
from mtbench.reference import array_namespace, round_to

DTYPES = ("float32", "float16", "bfloat16")
ROUNDED = ("float32",)
HALVES = ("float16", "bfloat16")

BEGIN = "<!-- What follows is written by python tests/operators/faults.py --into docs/truth.md -->"
END = "<!-- to here -->"

Wrong = Callable[[Operator, SimpleNamespace, list[Host], Host], Host]
"""The wrong result of a problem with these weights and inputs, from the right one."""


@dataclass(frozen=True)
class Fault:
    """`seen`: the dtypes in which it is told from rounding. `telling`: on the inputs that reveal mistakes."""

    what: str
    problem: Operator
    shape: Shape
    wrong: Wrong
    seen: tuple[str, ...] = DTYPES
    telling: bool = False


def times(factor: float, *place: int) -> Wrong:
    """One place of the output, so many times as large."""

    def wrong(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
        out = right.copy()
        out[place] *= factor
        return out

    return wrong


def far_off(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    out = right.copy()
    out.flat[1234] += 8 * right.std()
    return out


def first_rows_alone(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    out = np.zeros_like(right)
    out[:3] = right[:3]
    return out


def other(**params: float) -> Wrong:
    """The same operator with other parameters."""
    return lambda problem, w, inputs, right: np.asarray(
        replace(problem, **params).portable(array_namespace(), w, *inputs)  # type: ignore[arg-type]
    )


def without_newest_key(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    q, k, v = inputs
    out = right.copy()
    fewer = np.asarray(problem.portable(array_namespace(), w, q[:, :, -1:], k[:, :, :-1], v[:, :, :-1]))
    out[:, :, -1:] = fewer
    return out


def as_it_came(*place: int) -> Wrong:
    """A part of the output is the input, as where a row is not normed or a token not rotated."""

    def wrong(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
        out = right.copy()
        out[place] = inputs[0][place]
        return out

    return wrong


def unbiased(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    (x,) = inputs
    width = x.shape[-1]
    scaled = (right - w.bias) * ((width - 1) / width) ** 0.5
    return np.asarray(scaled + w.bias)


def int8_weights(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    step = np.abs(w.weight).max(axis=-1, keepdims=True) / 127
    return np.asarray(inputs[0] @ (np.round(w.weight / step) * step).T)


def in_bfloat16(problem: Operator, w: SimpleNamespace, inputs: list[Host], right: Host) -> Host:
    return np.asarray(round_to(inputs[0], "bfloat16") @ round_to(w.weight, "bfloat16").T)


SDPA = ScaledDotProductAttention(512, 8)
LINEAR = Linear(512, bias=False)

FAULTS = (
    Fault("all but 3 of 16 batch rows are 0", LINEAR, Shape(16, 8), first_rows_alone),
    Fault("one of 64 batch rows is 0", LINEAR, Shape(64, 2), times(0, 17)),
    Fault("the last token is 0", SDPA, Shape(1, 512), times(0, 0, 2, 511)),
    Fault("one head of one token is off by 5 %", SDPA, Shape(2, 256), times(1.05, 1, 3, 7)),
    Fault("the newest key is missing for the last query", SDPA, Shape(1, 256), without_newest_key, telling=True),
    Fault("one value is off by 8 standard deviations", SDPA, Shape(1, 256), far_off),
    Fault("one value is doubled", LINEAR, Shape(4, 64), times(2, 3, 5, 7)),
    Fault("one row is not normed", LayerNorm(512), Shape(4, 64), as_it_came(3, 60)),
    Fault("one token is not rotated", RotaryEmbedding(8, 64), Shape(1, 256), as_it_came(0, 5, 200)),
    Fault("weights of 8 bits", LINEAR, Shape(4, 32), int8_weights),
    Fault("products in bfloat16", LINEAR, Shape(4, 32), in_bfloat16, ("float32", "float16")),
    Fault("eps 1e-5 instead of 1e-6", RmsNorm(512), Shape(4, 64), other(eps=1e-5), telling=True),
    Fault("eps 1e-2 instead of 1e-6", RmsNorm(512), Shape(4, 64), other(eps=1e-2), telling=True),
    Fault("n - 1 for n in the variance", LayerNorm(512), Shape(4, 64), unbiased, ROUNDED),
)


@dataclass(frozen=True)
class Found:
    """The errors of a fault beside the limits that they were held against."""

    errors: Errors
    limits: Limits
    seen: bool


def found(fault: Fault, dtype: str, seed: int = 0) -> Found:
    """Raises Mismatch where the right result is taken for wrong."""
    problem, rng = fault.problem, np.random.default_rng(seed)
    weights = {name: round_to(values, dtype) for name, values in problem.weights(rng).items()}
    drawn = problem.telling_inputs(rng, fault.shape, dtype) if fault.telling else problem.inputs(rng, fault.shape)
    assert drawn is not None
    case = Case(rounded(drawn, dtype), weights)
    (expected,) = correctness.reference(problem, case)
    limit = limits(problem.key(), dtype).times(TELLING if fault.telling else 1)

    def judged(result: Host) -> tuple[Errors, bool]:
        try:
            return correctness.compare(problem, dtype, limit, [round_to(result, dtype)], [expected]), False
        except Mismatch as mismatch:
            return mismatch.errors or Errors(), True

    right, accused = judged(expected)
    if accused:
        raise Mismatch(f"{fault.what}, {dtype}: the right result is refused", right)
    errors, seen = judged(fault.wrong(problem, SimpleNamespace(**weights), list(case.inputs.values()), expected))
    return Found(errors, limit, seen)


def told(one: Found) -> str:
    """The error that is farthest above its limit, in multiples of it; marked where the norm alone would have missed it."""
    shares = {name: getattr(one.errors, name) / getattr(one.limits, name) for name in ("norm", "row", "element")}
    name = max(shares, key=shares.__getitem__)
    if not one.seen:
        return f"not seen ({name} {shares[name]:.2g})"
    return f"{name} {shares[name]:.2g}{'' if shares['norm'] > 1 else ' *'}"


def table() -> str:
    lines = [f"| fault | operator | {' | '.join(DTYPES)} |", "| --- | --- | --- | --- | --- |"]
    for fault in FAULTS:
        cells = [told(found(fault, dtype)) for dtype in DTYPES]
        telling = ", telling inputs" if fault.telling else ""
        lines.append(f"| {fault.what} | `{fault.problem.key()}`{telling} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    text = table()
    if not arguments:
        print(text)
        return
    page = Path(arguments[-1])
    above, _, rest = page.read_text().partition(BEGIN)
    _, _, below = rest.partition(END)
    page.write_text(f"{above}{BEGIN}\n\n{text}\n\n{END}{below}")


if __name__ == "__main__":
    main(sys.argv[1:])
