"""Texts by the libraries' own loops: greedy, whole, with the time of each token, and held against the definition."""

import time
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from operator_cases import build, draw, framework, known_of_the_cpu, references
from test_causal_lm import lm
from test_llama_cpp import build as build_llama
from test_llama_cpp import fitting, start

from mtbench.bench.worker import blocks, correctness
from mtbench.bench.worker.correctness import Mismatch
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models import greedy
from mtbench.language_models.definition import last_logits
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.protocol import Protocol
from mtbench.results.samples import token_times

pytestmark = known_of_the_cpu

NEW = 6
LIMITS = Limits(2e-2, 2e-2)


def text(name: str, **params: Any) -> Any:
    return replace(fitting(name, "prefill"), phase="generate", **{"new_tokens": NEW} | params)  # type: ignore[type-var]


def made(library: str, problem: Any, weights: SimpleNamespace, dtype: str) -> tuple[Any, Any]:
    if library == "llama_cpp":
        chosen = start()
        return chosen, build_llama(chosen, problem, weights, dtype)
    return framework(library), build(problem, library, "native", weights, dtype)


def judge(problem: Any, weights: SimpleNamespace, prompts: Any, tokens: Any) -> None:
    """As the worker does. Raises Mismatch."""
    expected = references(problem, [prompts], weights)
    correctness.check_form([tokens], [each.shape for each in expected])
    compared = [problem.compared([each], [prompts]) for each in (tokens, *expected)]
    correctness.compare(problem, "bfloat16", LIMITS, *compared)


@pytest.mark.parametrize("weights", [None, "int8"])
@pytest.mark.parametrize("shape", [Shape(1, 9), Shape(2, 4)])
@pytest.mark.parametrize("library", ["torch", "mlx", "llama_cpp"])
def test_a_text_is_greedy_and_whole(library: str, shape: Shape, weights: str | None) -> None:
    problem = text("llama3", weight_dtype=weights)
    (prompts,), seed = draw(problem, shape, "bfloat16")
    chosen, call = made(library, problem, seed, "bfloat16")
    arrays = [chosen.array(prompts, "bfloat16")]
    for _ in range(2):
        out = call(*arrays)
        chosen.wait(out)
        tokens = chosen.host(chosen.leaves(out)[0])
        assert tokens.shape == (shape.batch_size, NEW)
        judge(problem, SimpleNamespace(**vars(seed), **getattr(call, "own_weights", {})), prompts, tokens)
    assert [len(each) for each in call.stamps] == [NEW, NEW]
    assert all(0 < before < after for each in call.stamps for before, after in pairwise(each))


@pytest.mark.parametrize("change", ["another token", "no token", "half a token"])
def test_a_text_that_is_not_greedy_is_a_mismatch(change: str) -> None:
    problem = text("llama3")
    (prompts,), seed = draw(problem, Shape(1, 9), "float64")
    greedily = made("torch", problem, seed, "float32")[1](framework("torch").array(prompts, "float32"))
    tokens = framework("torch").host(greedily)
    judge(problem, seed, prompts, tokens)
    tokens[0, 3] = {"another token": (tokens[0, 3] + 1) % 128, "no token": 128, "half a token": tokens[0, 3] + 0.5}[
        change
    ]
    with pytest.raises(Mismatch):
        judge(problem, seed, prompts, tokens)


@pytest.mark.parametrize("token", [-1, 128])
def test_a_text_of_no_tokens_at_all_is_a_mismatch(token: int) -> None:
    problem = text("llama3")
    (prompts,), seed = draw(problem, Shape(1, 9), "float64")
    with pytest.raises(Mismatch):
        judge(problem, seed, prompts, np.full((1, NEW), float(token)))


def test_a_token_that_is_nearly_as_likely_is_right() -> None:
    """Which of two it is is decided by rounding, and all that follows with it."""
    problem: Any = text("llama3")
    (prompts,), seed = draw(problem, Shape(1, 4), "float64")
    stored = problem.stored(int(seed.seed[0]))

    best = int(last_logits(np, problem.model, stored.read, prompts).argmax())
    other = (best + 1) % problem.model.vocab_size

    def read(name: str, rows: Any = slice(None)) -> Any:
        if name != "lm_head.weight":
            return stored.read(name, rows)
        table = stored.read(name)
        table[other] = 0.999 * table[best]
        return table[rows]

    found = [
        greedy.regrets(np, problem.model, read, prompts, np.array([[token]]), 16384).item() for token in (best, other)
    ]
    assert found[0] == 0 < found[1] < 0.01


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"phase=prefill generates no text; leave operator.params.new_tokens out"):
        replace(lm("llama3"), new_tokens=3)  # type: ignore[type-var, call-arg]
    with pytest.raises(ConfigError, match="generate starts with an empty cache"):
        text("llama3").check(Shape(1, 4, 9))


@pytest.mark.parametrize(
    ("library", "says"),
    [
        ("torch", "compiles its steps on CUDA only"),
        ("mlx", "mlx-lm's loop does not compile"),
        ("llama_cpp", "no compiler"),
    ],
)
def test_a_loop_that_compiles_nothing_says_so(library: str, says: str) -> None:
    from mtbench.bench.worker import forms

    problem = text("llama3")
    chosen, call = made(library, problem, draw(problem, Shape(1, 2))[1], "bfloat16")
    with pytest.raises(Unsupported, match=says):
        forms.compiled(chosen, call)


def test_a_text_is_all_its_passes() -> None:
    problem, prompt, step = text("llama3"), lm("llama3"), lm("llama3", "decode")
    shape = Shape(2, 5)
    steps = [Shape(2, 1, 5 + i) for i in range(NEW - 1)]
    assert problem.flops(shape) == prompt.flops(shape) + sum(map(step.flops, steps))
    moved = prompt.bytes_moved(shape, "bfloat16") + sum(step.bytes_moved(each, "bfloat16") for each in steps)
    assert problem.bytes_moved(shape, "bfloat16") == pytest.approx(moved)
    assert problem.tokens(shape) == 2 * NEW
    assert text("llama3", new_tokens=None).tokens(shape) == 2 * 32


def test_times_of_tokens_are_medians_of_restarts_of_calls() -> None:
    assert token_times([[[100, 10, 20], [110, 10, 10]], [[300, 30, 30]]]) == ((105 + 300) / 2, (12.5 + 30) / 2)
    assert token_times([[[100]]]) == (100, None)


def test_a_worker_takes_the_stamps_of_the_timed_calls_alone() -> None:
    """A block begins with an untimed call, which has stamps as well."""
    problem = text("llama3")
    chosen, call = made("torch", problem, draw(problem, Shape(1, 4), "float32")[1], "float32")
    arrays = [chosen.array(np.zeros((1, 4), np.int64), "float32")]
    subject = blocks.Subject(call, [arrays], chosen.wait, chosen.submit, clock=time.perf_counter_ns)
    blocks.keep_warm(subject, Protocol())
    samples = blocks.latency_calls(subject, 2)
    stamps = call.stamps[-len(samples) :]
    assert len(call.stamps) == 3
    assert all(each[-1] <= sample for each, sample in zip(stamps, samples, strict=True))
