"""What attention sees, where positions start, and what a cache does to both: parameters together, eager and compiled."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from definitions import definition
from operator_cases import TOLERANCES, build, draw, error, errors, framework, reference, references, run, small

from mtbench.bench.worker import correctness
from mtbench.catalogue import registry
from mtbench.errors import ConfigError
from mtbench.operators.base import Shape
from mtbench.reference import array_namespace

FORMS = [("torch", "native"), ("torch", "portable"), ("mlx", "native"), ("mlx", "portable"), ("numpy", "portable")]

TOGETHER: list[dict[str, Any]] = [
    {"num_kv_heads": 2, "causal": True, "window": 3},
    {"num_kv_heads": 1, "causal": False, "additive_bias": True},
    {"num_kv_heads": 2, "causal": True, "additive_bias": True},
    {"num_kv_heads": 4, "causal": True, "window": 3, "additive_bias": True},
    {"num_kv_heads": 2, "causal": True, "mask": "padding", "v_head_dim": 12},
    {"num_kv_heads": 2, "causal": False, "mask": "padding", "additive_bias": True},
    {"num_kv_heads": 2, "causal": True, "mask": "broadcast", "additive_bias": True},
    {"num_kv_heads": 1, "causal": True, "mask": "boolean", "window": 3},
    {"num_kv_heads": 2, "causal": False, "mask": "broadcast"},
]

LENGTHS = [Shape(2, 7), Shape(1, 3, 9), Shape(2, 1, 9)]


@pytest.fixture(autouse=True)
def compiled_afresh() -> Iterator[None]:
    yield
    framework("torch").clear()


@pytest.mark.parametrize("params", TOGETHER)
def test_the_definition_holds_for_parameters_together(params: dict[str, Any]) -> None:
    for shape in LENGTHS:
        problem = small("sdpa", **params)
        inputs, weights = draw(problem, shape)
        expected = definition("sdpa")(problem, {}, *map(torch.from_numpy, inputs)).numpy()
        np.testing.assert_allclose(reference(problem, inputs, weights), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("params", TOGETHER)
@pytest.mark.parametrize(("library", "variant"), FORMS)
def test_each_form_takes_parameters_together(library: str, variant: str, params: dict[str, Any]) -> None:
    for shape in LENGTHS:
        problem = small("sdpa", **params)
        inputs, weights = draw(problem, shape, "float32")
        call = build(problem, library, variant, weights, "float32")
        both = ([run(call, library, inputs, "float32")], [reference(problem, inputs, weights)])
        assert error(*(problem.compared(each, inputs) for each in both)) < 1e-5, shape


@pytest.mark.parametrize("params", [each for each in TOGETHER if each["num_kv_heads"] == 2])
@pytest.mark.parametrize("variant", ["array_mask", "grouped_rows", "products", "repeated_heads"])
def test_each_variant_takes_masks_and_groups_together(variant: str, params: dict[str, Any]) -> None:
    test_each_form_takes_parameters_together("torch", variant, params)


def test_a_query_that_sees_nothing_may_be_anything_but_nan() -> None:
    problem = small("sdpa", causal=True, mask="padding")
    inputs, weights = draw(problem, Shape(2, 6))
    (expected,) = references(problem, inputs, weights)
    (mask,) = inputs[3:]
    assert not mask[1].any()  # a sequence of no length
    (changed,) = ([expected.copy()],)
    changed[0][1] = 7.0
    errors(problem, inputs, changed, [expected], "float32")
    changed[0][0, 0, -1] += 1  # the last query sees at least one key
    with pytest.raises(correctness.Mismatch, match="batch 0, head 0, token 5"):
        errors(problem, inputs, changed, [expected], "float32")
    changed[0][1, 0, 0, 0] = np.nan
    with pytest.raises(correctness.Mismatch, match="NaN"):
        errors(problem, inputs, changed, [expected], "float32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "params", [{"num_kv_heads": 4}, {"num_kv_heads": 4, "additive_bias": True}, {"num_kv_heads": 2}]
)
@pytest.mark.parametrize("library", ["torch", "mlx"])
def test_one_query_behind_many_keys_in_half_precision(library: str, params: dict[str, Any], dtype: str) -> None:
    problem = small("sdpa", **params)
    inputs, weights = draw(problem, Shape(2, 1, 200), dtype)
    call = build(problem, library, "native", weights, dtype)
    assert error(run(call, library, inputs, dtype), reference(problem, inputs, weights)) < TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("name", "params", "shape"),
    [
        ("sdpa", TOGETHER[0], Shape(2, 7)),
        ("sdpa", TOGETHER[3], Shape(1, 3, 9)),
        ("sdpa", {"causal": True, "mask": "broadcast", "v_head_dim": 12}, Shape(2, 3, 9)),
        ("rope", {}, Shape(2, 3, 9)),
        ("rope", {"interleaved": True}, Shape(2, 3, 9)),
        ("gqa", {"window": 3, "qk_norm": True}, Shape(2, 2, 9)),
    ],
)
@pytest.mark.parametrize("library", ["torch", "mlx"])
def test_native_forms_compile_with_masks_and_offsets(
    library: str, name: str, params: dict[str, Any], shape: Shape
) -> None:
    problem = small(name, **params)
    inputs, weights = draw(problem, shape, "float32")
    call = framework(library).compile(build(problem, library, "native", weights, "float32"))
    for _ in range(2):  # a mask that was made while compiling must still be there
        assert error(run(call, library, inputs, "float32"), reference(problem, inputs, weights)) < 1e-5


@pytest.mark.parametrize(("library", "variant"), FORMS)
def test_keys_out_of_sight_are_never_read(library: str, variant: str) -> None:
    problem = small("sdpa", causal=True, window=3)
    (q, k, v), weights = draw(problem, Shape(1, 2, 9), "float32")
    k[:, :, :5], v[:, :, :5] = np.nan, np.nan  # the first query, at position 7, sees 5 to 7
    call = build(problem, library, variant, weights, "float32")
    assert np.isfinite(run(call, library, [q, k, v], "float32")).all()
    k[:, :, 5] = np.nan
    assert not np.isfinite(run(call, library, [q, k, v], "float32")).all()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("library", "variant"), FORMS)
def test_rows_may_start_at_positions_of_their_own(library: str, variant: str, interleaved: bool) -> None:
    problem = small("rope", interleaved=interleaved)
    (x,), weights = draw(problem, Shape(2, 9), "float32")
    whole = reference(problem, [x], weights)
    starts = [2, 6]
    rows = [
        np.stack([row[:, start : start + 3] for row, start in zip(values, starts, strict=True)])
        for values in (x, whole)
    ]
    call = build(problem, library, variant, weights, "float32")
    assert error(run(call, library, [rows[0], np.array(starts)], "float32"), rows[1]) < 1e-5


def test_rotated_products_depend_on_distance_alone() -> None:
    problem = small("rope", num_heads=1)
    q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, problem.head_dim))

    def product(q_position: int, k_position: int) -> float:
        turned = [
            reference(problem, [x, np.array([position])], SimpleNamespace())
            for x, position in ((q, q_position), (k, k_position))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(5, 2) == pytest.approx(product(45, 42), rel=1e-12)
    assert product(5, 2) != pytest.approx(product(5, 3), rel=1e-3)


@pytest.mark.parametrize("window", [None, 1, 2, 4])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("name", ["gqa", "llama_block"])
def test_decoding_with_a_cache_continues_the_whole_sequence(name: str, qk_norm: bool, window: int | None) -> None:
    problem: Any = small(name, qk_norm=qk_norm, window=window)
    (x,), weights = draw(problem, Shape(2, 9))
    attention = getattr(problem, "self_attn", problem)
    prefix = "" if attention is problem else "self_attn."
    own = {key.removeprefix(prefix): value for key, value in vars(weights).items() if key.startswith(prefix)}
    xp = array_namespace()
    hidden = x
    if prefix:
        hidden = problem.norm.portable(xp, SimpleNamespace(weight=vars(weights)["input_layernorm.weight"]), x)

    def heads(projection: str) -> Any:
        return (hidden @ own[f"{projection}.weight"].T).reshape(2, 9, problem.num_kv_heads, -1).transpose(0, 2, 1, 3)

    k, v = heads("k_proj"), heads("v_proj")
    if qk_norm:
        k = attention.norm.portable(xp, SimpleNamespace(weight=own["k_norm.weight"]), k)
    k = attention.rope.portable(xp, SimpleNamespace(), k)
    for new in (1, 3):
        continued = reference(problem, [x[:, -new:], k[:, :, :-new], v[:, :, :-new]], weights)
        np.testing.assert_allclose(continued, reference(problem, [x], weights)[:, -new:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("library", ["torch", "mlx"])
@pytest.mark.parametrize("compiled", [False, True])
def test_updating_a_cache_again_changes_nothing_more(library: str, compiled: bool) -> None:
    chosen = framework(library)
    problem = small("kv_cache_update")
    inputs, weights = draw(problem, Shape(2, 2, 9), "float32")
    call = build(problem, library, "native", weights, "float32")
    call = chosen.compile(call) if compiled else call
    arrays = [chosen.array(values, "float32") for values in inputs]
    for _ in range(3):
        out = call(*arrays)
        chosen.wait(out)
        found = [chosen.host(leaf) for leaf in chosen.leaves(out)]
        assert error(found, references(problem, inputs, weights)) == 0
    for found_one, cache, new in zip(found, inputs[:2], inputs[2:], strict=True):
        np.testing.assert_array_equal(found_one[:, :, :-2], cache[:, :, :-2])
        np.testing.assert_array_equal(found_one[:, :, -2:], new)


def test_eager_updates_leave_a_cache_where_it_is() -> None:
    problem = small("kv_cache_update", num_kv_heads=8, head_dim=64)
    inputs, weights = draw(problem, Shape(1, 1, 1024), "float32")
    tensors = [framework("torch").array(values, "float32") for values in inputs]
    out = build(problem, "torch", "native", weights, "float32")(*tensors)
    assert all(framework("torch").same(new, old) for new, old in zip(out, tensors[:2], strict=True))
    mlx = framework("mlx")
    call = build(problem, "mlx", "native", weights, "float32")
    arrays = [mlx.array(values, "float32") for values in inputs]
    mlx.wait(call(*arrays))
    mlx.reset_peak()
    mlx.wait(call(*arrays))
    assert (mlx.peak_bytes() or 0) < inputs[0].size * 4  # a copy of either cache would be more


@pytest.mark.parametrize(
    ("name", "params", "shape", "says"),
    [
        ("sdpa", {"window": 4}, None, "window=4 slides over the past, so it needs causal=true."),
        ("gqa", {"causal": False, "window": 4}, None, "needs causal=true"),
        ("sdpa", {"num_heads": 12, "num_kv_heads": 5}, None, "num_kv_heads=1 or 2 or 3 or 4 or 6 or 12 would do."),
        ("llama_block", {"num_kv_heads": 5}, None, "num_heads=12 cannot share num_kv_heads=5 equally"),
        ("rope", {"head_dim": 7}, None, "head_dim=7"),
        ("gqa", {"head_dim": 7}, None, "it must be even."),
        ("rope", {}, Shape(1, 5, 3), "shape.kv_len=3"),
        ("rope", {"max_seq_len": 8}, Shape(1, 9), "give max_seq_len=9."),
        ("gqa", {}, Shape(1, 5, 3), "give kv_len >= seq_len."),
        ("llama_block", {}, Shape(1, 5, 3), "give kv_len >= seq_len."),
        ("kv_cache_update", {}, Shape(1, 5, 3), "give kv_len > seq_len."),
        ("kv_cache_update", {}, Shape(1, 5, 5), "give kv_len > seq_len."),
    ],
)
def test_what_cannot_be_is_refused(name: str, params: dict[str, Any], shape: Shape | None, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        registry.load("operator", name).from_params(params).check(shape or Shape(1, 9))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_window_counts_the_pairs_in_sight() -> None:
    sdpa = registry.load("operator", "sdpa").from_params({"embed_dim": 8, "num_heads": 2, "causal": True, "window": 2})
    # three queries of five keys see 2 each: 6 pairs, 2 heads, 4 features, two products of 2 each
    assert sdpa.flops(Shape(1, 3, 5)) == 6 * 2 * 4 * 2 * 2
