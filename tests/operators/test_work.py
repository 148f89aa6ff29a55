"""The stated work: FLOPs against torch's own counter, bytes against the arrays themselves."""

from typing import Any

import numpy as np
import pytest
import torch
from definitions import table
from operator_cases import OPERATORS, build, draw, framework, problems, references, shapes
from torch.utils.flop_counter import FlopCounterMode

from mtbench.catalogue import registry
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Shape


@pytest.mark.parametrize("name", OPERATORS)
def test_flops_are_those_of_the_matrix_products(name: str) -> None:
    stated = table("FLOPS")
    for problem in problems(name):
        for shape in shapes(problem):
            if name in stated:
                assert problem.flops(shape) == stated[name](problem, shape)
                continue
            inputs, weights = draw(problem, shape)
            call = build(problem, "torch", "portable", weights, "float32")
            arrays = [framework("torch").array(values, "float32") for values in inputs]
            with FlopCounterMode(display=False) as counter:
                call(*arrays)
            assert problem.flops(shape) + hidden_flops(problem, shape) == counter.get_total_flops(), (problem, shape)


def hidden_flops(problem: Any, shape: Shape) -> int:
    """What the definition spends on pairs of query and key that a causal mask hides, which a good kernel leaves out."""
    if not getattr(problem, "causal", False):
        return 0
    queries = shape.seq_len
    keys = queries if problem.key() == "transformer_decoder_layer" else shape.key_len  # the memory is seen whole
    window = getattr(problem, "window", None) or keys
    seen = [range(last + 1)[-window:] for last in range(keys - queries, keys)]
    hidden = queries * len(set().union(*seen)) - sum(map(len, seen))  # keys that no query sees are left out
    size = problem.head_dim or problem.embed_dim // problem.num_heads
    both = size + (getattr(problem, "v_head_dim", None) or size)
    return 2 * shape.batch_size * problem.num_heads * both * hidden


@pytest.mark.parametrize("dtype", ITEM_BYTES)
@pytest.mark.parametrize("name", OPERATORS)
def test_bytes_are_those_of_inputs_weights_and_output(name: str, dtype: str) -> None:
    stated = table("BYTES")
    for problem in problems(name):
        for shape in shapes(problem):
            if name in stated:
                assert problem.bytes_moved(shape, dtype) == stated[name](problem, shape, dtype)
                continue
            inputs, weights = draw(problem, shape)
            arrays = [*inputs, *vars(weights).values(), *references(problem, inputs, weights)]
            moved = sum(
                np.size(values)
                * (INDEX_BYTES if np.issubdtype(values.dtype, np.integer) else getattr(torch, dtype).itemsize)
                for values in arrays
            )
            assert problem.bytes_moved(shape, dtype) == moved


@pytest.mark.parametrize("name", [name for name in OPERATORS if not registry.load("operator", name).own_forms_only])
def test_memory_on_the_host_holds_all_that_is_drawn(name: str) -> None:
    # a window or a cache is given more than a call moves
    for problem in problems(name):
        for shape in shapes(problem):
            inputs, weights = draw(problem, shape)
            held = sum(
                values.size * (INDEX_BYTES if np.issubdtype(values.dtype, np.integer) else values.itemsize)
                for values in (*inputs, *vars(weights).values())
            )
            assert problem.host_bytes(shape) >= held, (problem, shape)


def test_causal_attention_counts_the_pairs_that_see_each_other() -> None:
    sdpa = registry.load("operator", "sdpa").from_params({"embed_dim": 8, "num_heads": 2, "causal": True})
    # three queries of five keys see 3, 4 and 5 of them: 12 pairs, 2 heads, 4 features, two products of 2 each
    assert sdpa.flops(Shape(1, 3, 5)) == 12 * 2 * 4 * 2 * 2
