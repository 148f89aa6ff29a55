"""What single fundamental operators promise beyond agreeing with their reference at a few sizes."""

import re
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from definitions import definition
from operator_cases import (
    ON_GPU,
    TOLERANCES,
    build,
    draw,
    error,
    errors,
    framework,
    known_of_the_cpu,
    outputs,
    reference,
    references,
    run,
    small,
)

from mtbench.bench.worker import correctness
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.operators import quantized_linear
from mtbench.operators.base import Operator, Shape


def operator(name: str, **params: Any) -> Operator:
    made: Operator = registry.load("operator", name).from_params(params)
    return made


@pytest.mark.parametrize("library", ["torch", "mlx"])
@pytest.mark.parametrize(
    "params",
    [
        {"groups": 1, "kernel_size": 1, "padding": 0},
        {"groups": 8, "kernel_size": 4, "padding": 3},
        {"groups": 1, "stride": 1, "out_channels": 5, "bias": False},
        {"groups": 2, "stride": 3, "kernel_size": 5, "padding": 0},
    ],
)
@pytest.mark.parametrize("name", ["conv1d", "conv2d"])
def test_convolutions_of_many_kinds(name: str, params: dict[str, Any], library: str) -> None:
    import torch

    problem, shape = small(name, **params), Shape(2, 9)
    inputs, weights = draw(problem, shape, "float32")
    expected = references(problem, inputs, weights)
    defined = definition(name)(problem, vars(weights), *map(torch.from_numpy, inputs))
    np.testing.assert_allclose(expected[0], defined.numpy(), rtol=1e-9, atol=1e-12)
    out = outputs(build(problem, library, "native", weights, "float32"), library, inputs, "float32")
    assert error(out, expected) < TOLERANCES["float32"]
    assert problem.flops(shape) == 2 * expected[0].size * weights.weight[0].size


@pytest.mark.parametrize("name", ["conv1d", "conv2d"])
def test_torch_convolves_in_its_channels_last_format_without_a_copy(name: str) -> None:
    import torch

    problem = small(name)
    inputs, weights = draw(problem, Shape(2, 9), "float32")
    call = build(problem, "torch", "native", weights, "float32")
    arrays = [framework("torch").array(values, "float32") for values in inputs]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        out = call(*arrays)
    names = {event.name for event in profile.events()}
    assert any("conv" in each for each in names)
    assert not names & {"aten::contiguous", "aten::copy_", "aten::clone"}
    assert out.is_contiguous()


@pytest.mark.parametrize(
    ("name", "params", "shape", "says"),
    [
        ("conv1d", {"groups": 5}, Shape(1, 8), "in_channels=768 cannot be split into groups=5"),
        ("conv1d", {"groups": 4, "out_channels": 6}, Shape(1, 8), "out_channels=6"),
        ("conv2d", {"padding": -1}, Shape(1, 8), "padding=-1"),
        ("conv2d", {"kernel_size": 7, "padding": 1}, Shape(1, 4), "kernel_size=7 is longer"),
        ("conv_transpose1d", {"output_padding": 2}, Shape(1, 8), "it must be 0 or more and below stride=2."),
        ("top_k", {"k": 769}, Shape(1, 1), "k=769 exceeds embed_dim=768"),
        ("moe_mlp", {"experts_per_token": 9}, Shape(1, 1), "experts_per_token=9 exceeds num_experts=8"),
        ("moe_mlp", {"num_experts": 1000}, Shape(1, 1), "num_experts=1000 exceeds embed_dim=768"),
        ("sampling", {"k": 33000}, Shape(1, 1), "k=33000 exceeds vocab_size=32000"),
        ("sum", {"axis": "sequence"}, Shape(1, 1), "No axis 'sequence'. Did you mean 'seq'?"),
        ("concat", {"axis": "all"}, Shape(1, 1), "No axis 'all'"),
        ("quantized_linear", {"bits": 7}, Shape(1, 1), "No bits '7'"),
        ("quantized_linear", {"mode": "mxfp4", "bits": 8}, Shape(1, 1), "mode=mxfp4 has 4 bits, not 8"),
        ("quantized_linear", {"mode": "nvfp4", "group_size": 32}, Shape(1, 1), "mode=nvfp4 has groups of 16, not 32"),
        ("quantized_linear", {"group_size": 16}, Shape(1, 1), "mode=affine has groups of 32 or 64 or 128, not 16"),
        ("quantized_linear", {"out_dim": 48, "transpose": False}, Shape(1, 1), "out_dim=48 cannot be split"),
        ("quantized_linear", {"bits": 4.0}, Shape(1, 1), "No bits '4.0'"),
        (
            "quantized_linear",
            {"embed_dim": 96},
            Shape(1, 1),
            "embed_dim=96 cannot be split into groups of group_size=64",
        ),
        ("gather", {}, Shape(1, 4, 8), "key length"),
    ],
)
def test_what_cannot_be_is_refused(name: str, params: dict[str, Any], shape: Shape, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        operator(name, **params).check(shape)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("axis", ["batch", "seq", "embed", "all"])
def test_maxima_are_unique_in_every_dtype(axis: str, dtype: str) -> None:
    (x,), _ = draw(operator("argmax", embed_dim=300, axis=axis), Shape(3, 50), dtype)
    rows = x.reshape(1, -1) if axis == "all" else np.moveaxis(x, ("batch", "seq", "embed").index(axis), -1)
    first, second = np.sort(rows, axis=-1)[..., -1], np.sort(rows, axis=-1)[..., -2]
    assert (first >= second + 2).all()


def judged(problem: Operator, inputs: list[Any], out: list[Any]) -> None:
    errors(problem, inputs, out, references(problem, inputs, SimpleNamespace()), "bfloat16")


def test_equal_values_may_come_in_any_order_but_each_once() -> None:
    problem = operator("argsort", embed_dim=6)
    inputs = [np.array([[[1.0, 0.0, 1.0, 2.0, 0.0, 3.0]]])]
    judged(problem, inputs, [np.array([[[1, 4, 0, 2, 3, 5]]])])
    judged(problem, inputs, [np.array([[[4, 1, 2, 0, 3, 5]]])])
    for wrong in (
        [4, 4, 2, 0, 3, 5],
        [4, 1, 2, 3, 0, 5],
        [4, 1, 2, 0, 3, 6],
        [4, 1, 2, 0, 3, -1],
        [4, 1, 2, 0.5, 3, 5],
    ):
        with pytest.raises(correctness.Mismatch):
            judged(problem, inputs, [np.array([[wrong]])])


def test_the_largest_values_may_come_in_any_order_but_each_once() -> None:
    problem = operator("top_k", embed_dim=6, k=3)
    inputs = [np.array([[[1.0, 0.0, 1.0, 2.0, 0.0, 3.0]]])]

    def found(values: list[float], indices: list[int]) -> list[Any]:
        return [np.array([[values]]), np.array([[indices]])]

    for values, indices in (([3, 2, 1], [5, 3, 0]), ([1, 3, 2], [2, 5, 3])):
        judged(problem, inputs, found(values, indices))  # type: ignore[arg-type]
    for values, indices in (
        ([3, 2, 0], [5, 3, 1]),
        ([3, 2, 1], [5, 0, 3]),
        ([3, 3, 2], [5, 5, 3]),
        ([3, 2, 1], [5, 3, 6]),
    ):
        with pytest.raises(correctness.Mismatch):
            judged(problem, inputs, found(values, indices))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("count", [8, 64])
def test_a_router_chooses_every_expert_as_often_and_clearly(count: int, dtype: str) -> None:
    problem = operator("moe_mlp", embed_dim=128, mlp_dim=32, num_experts=count, experts_per_token=4)
    (x,), weights = draw(problem, Shape(2, 48), dtype)
    logits = np.sort(x @ vars(weights)["gate.weight"].T, axis=-1)
    assert (logits[..., -4] - logits[..., -5]).min() > 0.5
    chosen = np.argsort(x @ vars(weights)["gate.weight"].T, axis=-1)[..., -4:]
    assert set(np.bincount(chosen.ravel(), minlength=count)) == {2 * 48 * 4 // count}
    assert 0.9 < x.std() < 1.3


@pytest.mark.parametrize("name", ["scatter_add", "scatter_max"])
@pytest.mark.parametrize("library", ["torch", "mlx", "numpy"])
def test_a_scatter_leaves_its_base_as_it_was(name: str, library: str) -> None:
    problem, shape = small(name, updates_per_row=3), Shape(2, 5)
    inputs, weights = draw(problem, shape)
    named = np.bincount(inputs[1], minlength=10)
    assert named.mean() == 3
    assert named.min() < 3 < named.max()
    base = framework(library).array(inputs[0], "float32")
    before = framework(library).host(base)
    call = build(problem, library, "native", weights, "float32")
    out = call(base, *(framework(library).array(values, "float32") for values in inputs[1:]))
    framework(library).wait(out)
    np.testing.assert_array_equal(framework(library).host(base), before)
    assert (framework(library).host(out) != before).any()


def test_an_embedding_reads_no_row_twice_while_others_are_unread() -> None:
    problem = operator("embedding", vocab_size=10, embed_dim=4)
    (ids,), _ = draw(problem, Shape(2, 3))
    assert len(np.unique(ids)) == 6
    (ids,), _ = draw(problem, Shape(4, 6))
    assert set(np.bincount(ids.ravel(), minlength=10)) == {2, 3}


@pytest.mark.parametrize("temperature", [0.1, 0.8, 5.0])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_samples_are_the_same_tokens_in_every_library(dtype: str, temperature: float) -> None:
    problem = operator("sampling", vocab_size=4000, k=50, temperature=temperature)
    inputs, weights = draw(problem, Shape(3, 40), dtype)
    expected = reference(problem, inputs, weights)
    for library, variant in product(("torch", "mlx"), ("native", "portable")):
        out = run(build(problem, library, variant, weights, dtype), library, inputs, dtype)
        np.testing.assert_array_equal(out, expected)


def test_samples_depend_on_noise_and_temperature_and_k() -> None:
    shape, params = Shape(2, 100), {"vocab_size": 16000}
    inputs, weights = draw(operator("sampling", **params), shape)
    logits, noise = inputs
    sample = reference(operator("sampling", **params), inputs, weights)
    assert np.mean(sample != logits.argmax(-1)) > 0.3  # it is not greedy
    assert np.mean(sample != (logits / 0.8 + noise).argmax(-1)) > 0.1  # nor over the whole vocabulary
    assert np.mean(sample != reference(operator("sampling", **params, temperature=0.3), inputs, weights)) > 0.1
    assert np.mean(sample != reference(operator("sampling", **params, k=10), inputs, weights)) > 0.3


def test_frequencies_of_samples_are_the_softmax_of_the_candidates() -> None:
    # one row of logits, and noise as it is drawn, without the margin that makes a winner unique
    rng, problem = np.random.default_rng(0), operator("sampling", vocab_size=6, k=3, temperature=0.5)
    logits, draws = np.array([0.3, 1.0, -2.0, 0.8, 0.6, -1.0]), 40_000
    chosen = reference(problem, [np.tile(logits, (1, draws, 1)), rng.gumbel(size=(1, draws, 6))], SimpleNamespace())
    weights = np.where(logits >= 0.6, np.exp(logits / 0.5), 0)
    np.testing.assert_allclose(np.bincount(chosen.ravel(), minlength=6) / draws, weights / weights.sum(), atol=0.01)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("bits", "group_size"), list(product((8, 4), (32, 64, 128))))
@pytest.mark.parametrize("variant", ["native", "in_float32", "product"])
def test_a_quantised_weight_is_exact_at_a_models_width(variant: str, bits: int, group_size: int, dtype: str) -> None:
    problem = operator("quantized_linear", embed_dim=1024, out_dim=256, bits=bits, group_size=group_size)
    inputs, weights = draw(problem, Shape(2, 3), dtype)
    expected = reference(problem, inputs, weights)
    for library in ("torch", "mlx"):
        try:
            call = build(problem, library, variant, weights, dtype)
        except Unsupported:
            assert (
                ON_GPU
                or (library, variant) == ("torch", "in_float32")
                or (library, bits, variant) == ("torch", 8, "native")
            )
            continue  # GPUs' kernels take fewer dtypes
        if (library, variant) == ("mlx", "native") and dtype != "float32" and not ON_GPU:
            continue  # it sums in x's dtype there
        # closer than the tolerances: a code, scale or offset in the wrong place must be seen
        rounded = variant == "product" and dtype != "float32"  # as each weight is, to the dtype
        assert error(run(call, library, inputs, dtype), expected) < TOLERANCES[dtype] / (2 if rounded else 5)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("form", ["2", "3", "5", "6", "mxfp4", "nvfp4"])
def test_each_format_is_exact_at_a_models_width_and_either_way(form: str, transpose: bool, dtype: str) -> None:
    params: dict[str, Any] = {"bits": int(form)} if form.isdecimal() else {"mode": form}
    problem = operator("quantized_linear", embed_dim=1024, out_dim=256, transpose=transpose, **params)
    inputs, weights = draw(problem, Shape(2, 3), dtype)
    expected = reference(problem, inputs, weights)
    assert 0.5 < expected.std() < 2
    for variant, factor in (("in_float32", 5), ("product", 2)):
        out = run(build(problem, "mlx", variant, weights, dtype), "mlx", inputs, dtype)
        assert error(out, expected) < TOLERANCES[dtype] / factor
    for variant in ("native", "product", "product_in_parts"):
        with pytest.raises(Unsupported, match=r"operator\.variant=portable"):
            build(problem, "torch", variant, weights, dtype)


@known_of_the_cpu
@pytest.mark.parametrize(("library", "dtype"), [("torch", "float32"), ("torch", "bfloat16")])
@pytest.mark.parametrize("rows", [1, 512])
def test_a_quantised_products_native_form_is_the_kernel_however_many_rows(rows: int, library: str, dtype: str) -> None:
    problem = operator("quantized_linear", embed_dim=256)
    inputs, weights = draw(problem, Shape(1, rows), dtype)
    native, product = (
        run(build(problem, library, name, weights, dtype), library, inputs, dtype) for name in ("native", "product")
    )
    one_row = run(build(problem, library, "native", weights, dtype), library, [inputs[0][:, :1]], dtype)
    np.testing.assert_allclose(native[:, :1], one_row, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    assert (native != product).any()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("embed_dim", [96, 128])  # three groups: one lies across the middle of a row
def test_a_quantised_weight_may_be_taken_in_parts(embed_dim: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_linear, "PART", 20 * embed_dim)
    problem = operator("quantized_linear", embed_dim=embed_dim, out_dim=48, bits=bits, group_size=32)
    inputs, weights = draw(problem, Shape(2, 3), "float32")
    out = run(build(problem, "torch", "product_in_parts", weights, "float32"), "torch", inputs, "float32")
    assert error(out, reference(problem, inputs, weights)) < 1e-6


@pytest.mark.parametrize("variant", ["native", "product", "product_in_one_pass", "product_in_parts"])
def test_a_quantised_products_input_may_lie_in_memory_as_it_likes(variant: str) -> None:
    problem = operator("quantized_linear", embed_dim=128, out_dim=48)
    (x,), weights = draw(problem, Shape(2, 3), "bfloat16")
    call, torch = build(problem, "torch", variant, weights, "bfloat16"), framework("torch")
    whole = torch.array(np.concatenate([x, x + 1], axis=1), "bfloat16")
    np.testing.assert_array_equal(torch.host(call(whole[:, :3])), torch.host(call(whole[:, :3].clone())))
    last = call(whole[:, -1:])
    np.testing.assert_array_equal(torch.host(last), torch.host(call(whole[:, -1:].clone())))


def test_a_variant_that_is_not_there_is_told_with_those_that_are() -> None:
    known = "native, portable, product, product_in_one_pass, product_in_parts"
    says = f"QuantizedLinear has no variant 'stock' in torch; it has {known}."
    with pytest.raises(Unsupported, match=re.escape(says)):
        build(operator("quantized_linear"), "torch", "stock", SimpleNamespace(), "float32")


def refusal(device: str, dtype: str, capability: tuple[int, int] = (9, 0), **params: Any) -> str | None:
    """What torch's form says of a device that need not be here."""
    fake = SimpleNamespace(bfloat16="bfloat16", cuda=SimpleNamespace(get_device_capability=lambda: capability))
    try:
        operator("quantized_linear", **params)._refuse_torch(fake, device, dtype)  # type: ignore[attr-defined]
    except Unsupported as why:
        return str(why)
    return None


def test_torch_says_which_quantised_products_it_cannot_do() -> None:
    assert "one scale per row" in str(refusal("cpu", "float32", bits=8))
    assert "dtype=bfloat16 only" in str(refusal("cuda", "float16"))
    assert "transpose=true" in str(refusal("cpu", "float32", bits=2))
    assert "transpose=true" in str(refusal("cpu", "float32", transpose=False))
    assert "mode=nvfp4" in str(refusal("cpu", "float32", mode="nvfp4"))
    assert "8.0" in str(refusal("cuda", "bfloat16", capability=(7, 5)))
    assert "multiples of 16 on cpu, and not 24" in str(refusal("cpu", "float32", out_dim=24))
    assert "multiples of 8 on mps, and not 12" in str(refusal("mps", "float32", out_dim=12))
    for device, dtype in (("cpu", "float16"), ("cuda", "bfloat16"), ("mps", "float32")):
        assert refusal(device, dtype) is None


@pytest.mark.parametrize(
    ("axis", "library", "variant"),
    [
        ("seq", "torch", "native"),
        ("all", "torch", "native"),
        ("seq", "mlx", "in_float32"),
        ("all", "mlx", "rows_first"),
    ],
)
def test_long_sums_keep_the_tolerance(axis: str, library: str, variant: str) -> None:
    for dtype, tolerance in TOLERANCES.items():
        problem = operator("sum", axis=axis)
        case = correctness.draw(problem, Shape(4, 512), dtype, 0)
        inputs = list(case.inputs.values())
        call = build(problem, library, variant, SimpleNamespace(), dtype)
        assert error(run(call, library, inputs, dtype), reference(problem, inputs, SimpleNamespace())) < tolerance
