"""Whole models with quantised weights: each library's own, held against the reference of the weights that it made."""

import json
import platform
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from definitions.language import CONFIGS
from operator_cases import LIBRARIES, TOLERANCES, build, draw, error, framework, known_of_the_cpu, references
from test_causal_lm import lm
from test_llama_cpp import build as build_llama
from test_llama_cpp import fitting, start

from mtbench.bench.worker import divergence
from mtbench.bench.worker.correctness import Mismatch
from mtbench.bench.worker.gate import Gate
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models.mlx import _dequantised
from mtbench.operators.base import Shape
from mtbench.plan import accuracy
from mtbench.plan.accuracy import Divergence, Limits
from mtbench.reference import round_to

pytestmark = known_of_the_cpu

SHAPES = {"prefill": Shape(2, 12), "decode": Shape(2, 1, 20)}


def quantised(name: str, phase: str, weights: str, **params: Any) -> Any:
    return replace(fitting(name, phase), weight_dtype=weights, **params)  # type: ignore[type-var]


def made(library: str, problem: Any, weights: SimpleNamespace, dtype: str) -> tuple[Any, Any]:
    if library == "llama_cpp":
        chosen = start()
        return chosen, build_llama(chosen, problem, weights, dtype)
    return framework(library), build(problem, library, "native", weights, dtype)


@pytest.mark.parametrize(
    ("library", "weights", "params"),
    [
        ("mlx", "int8", {"group_size": 32}),
        ("mlx", "int4", {"group_size": 64}),
        ("mlx", "int4", {}),
        ("torch", "int8", {}),
        ("llama_cpp", "int8", {}),
        ("llama_cpp", "int4", {"group_size": 32}),
    ],
)
@pytest.mark.parametrize("name", ["llama3", "gemma3"])
def test_a_quantised_model_is_what_its_own_weights_make(
    name: str, library: str, weights: str, params: dict[str, Any]
) -> None:
    for phase, shape in SHAPES.items():
        problem = quantised(name, phase, weights, **params)
        inputs, seed = draw(problem, shape, "bfloat16")
        chosen, call = made(library, problem, seed, "bfloat16")
        own = references(problem, inputs, SimpleNamespace(**vars(seed), **call.own_weights))
        before = references(problem, inputs, seed)
        out = call(*(chosen.array(values, "bfloat16") for values in inputs))
        chosen.wait(out)
        assert error([chosen.host(out)], own) < 1.5 * TOLERANCES["bfloat16"]  # MLX on the CPU sums in bfloat16
        rounded = error(own, before)
        assert (5e-3 if weights == "int8" else 5e-2) < rounded < (3e-2 if weights == "int8" else 0.3)


@pytest.mark.parametrize("bits", [4, 8])
def test_what_mlx_holds_is_taken_apart_as_mlx_does(bits: int) -> None:
    mx = pytest.importorskip("mlx.core")
    nn = pytest.importorskip("mlx.nn")
    layer = nn.Linear(128, 48, bias=False)
    layer.weight = mx.array(np.random.default_rng(0).standard_normal((48, 128)).astype(np.float32))
    packed = nn.QuantizedLinear.from_linear(layer, 32, bits)
    expected = mx.dequantize(packed.weight, packed.scales, packed.biases, 32, bits)
    np.testing.assert_allclose(_dequantised(packed, slice(None)), np.array(expected), atol=1e-6)
    np.testing.assert_allclose(_dequantised(packed, [[3, 7]]), np.array(expected)[[[3, 7]]], atol=1e-6)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MLX has another kernel for ARM, which sums in float32")
@pytest.mark.parametrize(("width", "bits"), [(576, 8), (576, 4)])
def test_mlx_on_the_cpu_rounds_each_sum_of_a_quantised_product_so_its_mismatch_is_its_own(
    width: int, bits: int
) -> None:
    mx = pytest.importorskip("mlx.core")
    rng = np.random.default_rng(0)
    with mx.stream(mx.cpu):
        weight = mx.array(rng.standard_normal((16, width)) * width**-0.5).astype(mx.bfloat16)
        x = mx.array(rng.standard_normal((2, width))).astype(mx.bfloat16)
        packed = mx.quantize(weight, 64, bits)
        found = _numbers(mx.quantized_matmul(x, *packed, transpose=True, group_size=64, bits=bits))
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = ((np.array(packed[0])[..., None] >> shifts) & (2**bits - 1)).reshape(16, width)
    scales, offsets = (_numbers(each).repeat(64, axis=1) for each in packed[1:])
    exact = _numbers(x) @ (scales * codes + offsets).T
    rounded = round_to(round_to(scales * codes, "bfloat16") + offsets, "bfloat16")
    total = np.zeros(found.shape)
    for column, weights in zip(_numbers(x).T, rounded.T, strict=True):
        total = round_to(total + round_to(column[:, None] * weights, "bfloat16"), "bfloat16")
    np.testing.assert_array_equal(found, total)  # to the last bit
    assert error(found, exact) > 2e-2
    assert error(round_to(exact, "bfloat16"), exact) < 3e-3  # what is left where the sum is rounded once


def _numbers(array: Any) -> Any:
    """In float64."""
    import mlx.core as mx

    return np.array(array.astype(mx.float32)).astype(np.float64)


def test_the_gate_holds_a_call_against_its_own_weights_and_says_how_far_they_are_from_the_first() -> None:
    pytest.importorskip("mlx_lm")
    problem, shape = quantised("llama3", "prefill", "int4", group_size=32), SHAPES["prefill"]
    chosen = framework("mlx")
    gate = Gate(chosen, problem, shape, "bfloat16", Limits(3e-2, 3e-2), weights_seed=0, seed=1)
    case = gate.draw()
    call = build(problem, "mlx", "native", SimpleNamespace(**case.weights), "bfloat16")
    out = call(*gate.arrays(case))
    with pytest.raises(Mismatch):  # without knowing what it was rounded to
        gate.first(call, out, case)
    gate.hold(call)
    assert gate.first(call, out, case).norm < 3e-2
    found = gate.divergence
    assert found is not None
    assert found.positions == shape.batch_size
    assert 5e-2 < found.error < 0.3
    assert (found.kl_nats, found.top1_agreement) == (None, None)  # random weights say nothing of what is likely


def test_divergence_is_of_the_likely_and_in_nats_where_weights_are_trained() -> None:
    before = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    same = divergence.of(before + 3, before, trained=True)
    assert (same.kl_nats, same.top1_agreement, same.positions) == (pytest.approx(0, abs=1e-12), 1, 2)
    swapped = np.log(np.array([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1]]))
    one = divergence.of(swapped, before, trained=True)
    assert one.kl_nats == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2)
    assert one.top1_agreement == 0.5
    assert one.error == pytest.approx(np.sqrt(2) * np.log(2) / np.linalg.norm(before))
    assert divergence.of(swapped, before, trained=False) == Divergence(one.error, 2)
    assert accuracy.mean([]) is None
    assert accuracy.mean([same, one]).top1_agreement == 0.75  # type: ignore[union-attr]


def test_llama_cpp_computes_no_finer_with_quantised_weights() -> None:
    problem = quantised("llama3", "prefill", "int8")
    with pytest.raises(Unsupported, match="to 8 bits, more than dtype=float16 allows; use bfloat16"):
        made("llama_cpp", problem, draw(problem, SHAPES["prefill"])[1], "float16")


@pytest.mark.parametrize(
    ("library", "weights", "params", "says"),
    [
        ("torch", "int4", {}, r"torchao [\d.]+ has no int4 kernel for cpu; it has one for CUDA\.$"),
        ("torch", "int8", {"group_size": 32}, "one scale for each row; leave operator.params.group_size out"),
        ("llama_cpp", "int4", {"group_size": 64}, "groups of 32, and no others"),
    ],
)
def test_what_a_library_has_no_kernel_for_is_refused_in_a_line(
    library: str, weights: str, params: dict[str, Any], says: str
) -> None:
    problem = quantised("llama3", "prefill", weights, **params)
    with pytest.raises(Unsupported, match=says):
        made(library, problem, draw(problem, SHAPES["prefill"])[1], "bfloat16")


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name in ("torch", "mlx")])
def test_sixteen_bits_are_the_dtypes_own(library: str) -> None:
    problem = quantised("llama3", "prefill", "bf16")
    _, weights = draw(problem, Shape(1, 3), "bfloat16")
    _, call = made(library, problem, weights, "bfloat16")
    assert not hasattr(call, "own_weights")
    assert problem.computes_in_dtype
    with pytest.raises(Unsupported, match="weight_dtype=bf16 goes with dtype=bfloat16"):
        made(library, problem, weights, "float16")


def test_quantised_weights_are_fewer_bytes() -> None:
    whole: Any = lm("llama3", "decode")
    shape, sizes = SHAPES["decode"], [np.prod(size) for size in whole.model.tensors().values() if len(size) == 2]
    for weights, group, bits in (("int4", 32, 4.5), ("int8", None, 8.25)):
        problem = replace(whole, weight_dtype=weights, group_size=group)
        saved = sum(sizes) * (16 - bits) / 8
        assert whole.weight_bytes("bfloat16") - problem.weight_bytes("bfloat16") == pytest.approx(saved)
        assert problem.bytes_moved(shape, "bfloat16") < whole.bytes_moved(shape, "bfloat16")
        assert problem.flops(shape) == whole.flops(shape)


def test_a_dtype_of_weights_that_nobody_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight_dtype"):
        type(lm("llama3")).from_params({"config": json.dumps(CONFIGS["llama3"]), "weight_dtype": "int3"})
