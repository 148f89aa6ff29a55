"""Every form of every operator, in every library, mode and dtype, against the float64 reference."""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
from definitions import table
from operator_cases import (
    ARMS,
    DEVICE,
    LIBRARIES,
    ON_GPU,
    OPERATORS,
    TOLERANCES,
    build,
    cases,
    default,
    draw,
    error,
    errors,
    framework,
    has,
    outputs,
    problems,
    reference,
    references,
    run,
    shapes,
    small,
)

from mtbench.bench.worker import forms
from mtbench.bench.worker.correctness import Mismatch, rounded
from mtbench.bench.worker.gate import TELLING
from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks.base import CompileSettings, Framework, Settings
from mtbench.operators.base import Shape


@pytest.fixture
def compiled_afresh() -> Iterator[None]:
    yield
    framework("torch").clear()


def require(library: str, dtype: str) -> None:
    if not has(library, dtype):
        pytest.skip(f"{library} has no {dtype}")


def known_to_be_wrong(operator: str, library: str, variant: str, dtype: str) -> bool:
    wrong: dict[tuple[str, str], tuple[str, ...]] = table("WRONG").get(operator, {})
    return not ON_GPU and dtype in wrong.get((library, variant), ())


def may_be_missing(operator: str, library: str, variant: str, dtype: str) -> bool:
    return ON_GPU or dtype in table("GPU_ONLY").get(operator, {}).get((library, variant), ())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("operator", "library", "variant"), ARMS)
def test_each_form_agrees_with_the_reference(operator: str, library: str, variant: str, dtype: str) -> None:
    require(library, dtype)
    if known_to_be_wrong(operator, library, variant, dtype):
        with pytest.raises(Mismatch):
            check_form(operator, library, variant, dtype)
    else:
        check_form(operator, library, variant, dtype)


def check_form(operator: str, library: str, variant: str, dtype: str) -> None:
    checked = 0
    # a stock module has paths of its own, chosen by several parameters together
    pairs = variant not in ("native", "portable") and dtype == "float32"
    for problem, shape in cases(operator, library, dtype, changes=2 if pairs else 1):
        inputs, weights = draw(problem, shape, dtype)
        try:
            call = build(problem, library, variant, weights, dtype)
        except Unsupported as reason:
            # some kernels of GPUs take fewer dtypes
            assert ON_GPU or variant not in ("native", "portable") or library in table("PARTIAL").get(operator, ())
            refusal = str(reason)
            continue
        out = outputs(call, library, inputs, dtype)
        errors(problem, inputs, out, references(problem, inputs, weights), dtype)
        telling = problem.telling_inputs(np.random.default_rng(1), shape, dtype)
        if telling is not None:
            inputs = list(rounded(telling, dtype).values())
            errors(
                problem,
                inputs,
                outputs(call, library, inputs, dtype),
                references(problem, inputs, weights),
                dtype,
                TELLING,
            )
        checked += 1
    if not checked and may_be_missing(operator, library, variant, dtype):
        pytest.skip(refusal)
    assert checked


# torch takes seconds to compile, so beside its native forms one dtype must do; JAX's eager mode has compiled, too
COMPILED = [
    (*arm, dtype)
    for arm in ARMS
    for dtype in TOLERANCES
    if arm[1] == "mlx"
    or (
        arm[1] == "torch"
        and (arm[2] == "native" or dtype == "float32")
        and not (arm[0] == "causal_lm" and dtype != "float32")
    )
    or (arm[1] == "jax" and arm[2] == "native" and dtype == "float32")
]


@pytest.mark.parametrize(("operator", "library", "variant", "dtype"), COMPILED)
def test_each_form_agrees_when_compiled(
    operator: str, library: str, variant: str, dtype: str, compiled_afresh: None, request: pytest.FixtureRequest
) -> None:
    if library in ("mlx", "torch"):
        request.getfixturevalue("quick_compiler")
    for problem in problems(operator):
        shape = next(shape for shape in shapes(problem, Shape(2, 10), Shape(2, 1, 10)))
        inputs, weights = draw(problem, shape, dtype)
        try:
            call = forms.compiled(framework(library), build(problem, library, variant, weights, dtype))
        except Unsupported as reason:
            refusal = str(reason)
            continue
        out = outputs(call, library, inputs, dtype)
        with pytest.raises(Mismatch) if known_to_be_wrong(operator, library, variant, dtype) else nullcontext():
            errors(problem, inputs, out, references(problem, inputs, weights), dtype)
        return  # the first that there is
    not_compiled = dtype in table("NOT_COMPILED").get(operator, {}).get((library, variant), ())
    if not_compiled or may_be_missing(operator, library, variant, dtype):
        pytest.skip(refusal)
    pytest.fail("no parameters are possible")


MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
IN_MODES = [
    (operator, mode)
    for operator in OPERATORS
    for mode in MODES
    # on the CPU graphs change nothing and tuning takes long, so two operators must do; on a GPU, all through its graphs
    if operator in ("rms_norm", "gqa") or (DEVICE == "gpu" and mode == "reduce-overhead")
]


@pytest.mark.parametrize(("operator", "mode"), IN_MODES)
def test_each_mode_of_torchs_compiler_agrees(operator: str, mode: str, compiled_afresh: None) -> None:
    framework("torch")  # which skips the test where there is none
    torch: Framework = registry.load("framework", "torch")(Settings(DEVICE, compile=CompileSettings(mode=mode)))
    problem = small(operator)
    inputs, weights = draw(problem, next(shapes(problem, Shape(2, 10), Shape(2, 1, 10))), "float32")
    try:
        call = forms.compiled(torch, build(problem, "torch", "native", weights, "float32"))
    except Unsupported as why:
        pytest.skip(str(why))
    expected = references(problem, inputs, weights)
    arrays = [torch.array(values, "float32") for values in inputs]
    for _ in range(4):  # compiled, recorded, replayed
        out = call(*arrays)
        torch.wait(out)
        assert error([torch.host(leaf) for leaf in torch.leaves(out)], expected) < TOLERANCES["float32"]


@pytest.mark.parametrize("variant", ["native", "stock"])
def test_a_causal_layer_compiles_once_for_a_shape(variant: str, compiled_afresh: None) -> None:
    torch = framework("torch")
    problem = registry.load("operator", "mha").from_params({"embed_dim": 32, "num_heads": 4, "causal": True})
    inputs, weights = draw(problem, Shape(2, 6, 16), "float32")
    call = torch.compile(build(problem, "torch", variant, weights, "float32"))
    assert error(run(call, "torch", inputs, "float32"), reference(problem, inputs, weights)) < 1e-5
    after_one = torch.compilations()
    run(call, "torch", inputs, "float32")
    assert torch.compilations() == after_one


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("library", [library for library in LIBRARIES if library != "numpy"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_defaults_agree_at_their_full_width(operator: str, library: str, dtype: str) -> None:
    # sums over a whole row are where a low precision goes wrong
    problem = default(operator)
    inputs, weights = draw(problem, next(shape for shape in shapes(problem, Shape(1, 4), Shape(1, 1, 4))), dtype)
    try:
        call = build(problem, library, "native", weights, dtype)
    except Unsupported as why:
        pytest.skip(str(why))
    out = outputs(call, library, inputs, dtype)
    with pytest.raises(Mismatch) if known_to_be_wrong(operator, library, "native", dtype) else nullcontext():
        errors(problem, inputs, out, references(problem, inputs, weights), dtype)


def test_each_library_runs_softmax_over_long_rows_in_low_precision() -> None:
    problem = registry.load("operator", "softmax").from_params({"embed_dim": 16384})
    for dtype in ("float16", "bfloat16"):
        inputs, weights = draw(problem, Shape(1, 4), dtype)
        for library in ("torch", "mlx"):
            out = run(build(problem, library, "native", weights, dtype), library, inputs, dtype)
            assert error(out, reference(problem, inputs, weights)) < TOLERANCES[dtype], (library, dtype)
