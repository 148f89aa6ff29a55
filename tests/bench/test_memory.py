"""Whether a cell fits: one pot or two, weights once, attention's scores, and small models on a small Mac."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mtbench.bench.controller import memory
from mtbench.bench.controller.memory import Free, Needed
from mtbench.bench.worker import correctness
from mtbench.bench.worker.gate import Gate
from mtbench.catalogue import registry
from mtbench.frameworks.base import Settings
from mtbench.frameworks.numpy import NumPy
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Limits
from mtbench.plan.protocol import Protocol
from mtbench.reference import HELD, PART, Draws, parts, round_to

GIB = 1 << 30
MODELS = Path(__file__).parents[2] / "conf" / "model"
FRACTION = Protocol().memory_fraction

# An 8 GB Mac with a browser open, and Metal's recommendation for its M1.
AIR = Free(device=4.0 * GIB, host=4.0 * GIB, shared=True)
AIR_WORKING_SET = 5726633984


def model(name: str, phase: str, **others: object) -> Any:
    config = yaml.safe_load((MODELS / f"{name}.yaml").read_text())["config"]
    return registry.load("operator", "causal_lm")(config=json.dumps(config), phase=phase, **others)


@pytest.mark.parametrize(
    ("name", "weights_gib"),
    [("smollm2_135m", 0.25), ("qwen3_0_6b", 1.11), ("gemma3_1b", 1.86), ("llama3_2_1b", 2.30)],
)
@pytest.mark.parametrize(
    ("phase", "shape"),
    [
        ("prefill", Shape(1, 32)),
        ("prefill", Shape(1, 128)),
        ("decode", Shape(1, 1, 128)),
        ("decode", Shape(1, 1, 1024)),
    ],
)
def test_the_cells_of_small_lms_fit_an_8_gb_mac_one_arm_at_a_time(name, weights_gib, phase, shape):
    """The table of needs: weights in bfloat16, at most a seventh more on the device, and a layer of the reference."""
    problem = model(name, phase)
    needed = memory.needed_bytes(problem, shape, "bfloat16")
    assert problem.weight_bytes("bfloat16") / GIB == pytest.approx(weights_gib, abs=0.01)
    assert weights_gib - 0.01 <= needed.device / GIB <= 1.21 * weights_gib
    assert needed.host / GIB < 1.5
    assert memory.fits([needed], AIR, FRACTION)
    assert memory.fits([needed], Free(min(AIR.host, AIR_WORKING_SET), AIR.host, shared=True), FRACTION)


def test_device_and_host_come_out_of_one_pot_where_they_do():
    needed = Needed(device=3.0, host=4.0)
    assert memory.fits([needed], Free(7.0, 7.0, shared=True), 1.0)
    assert not memory.fits([needed], Free(6.9, 6.9, shared=True), 1.0)
    assert memory.fits([needed], Free(6.9, 6.9), 1.0)  # two pots
    assert not memory.fits([needed], Free(2.9, 100.0), 1.0)
    assert not memory.fits([needed], Free(100.0, 3.9), 1.0)
    assert memory.fits([needed] * 2, Free(10.0, 10.0, shared=True), 1.0)  # one arm is built at a time
    assert not memory.fits([needed] * 2, Free(9.9, 9.9, shared=True), 1.0)


def test_the_recommended_working_set_limits_the_device():
    whole = memory.free(None)
    assert (whole.device, whole.shared) == (whole.host, True)
    working_set = memory.free(None, 60)
    assert (working_set.device, working_set.shared) == (60.0, True)
    assert working_set.host > 60
    own = memory.free(1000)
    assert (own.device, own.shared) == (1000.0, False)
    assert not memory.fits([Needed(61.0, 0.0)], working_set, 1.0)
    said = Needed(6.0 * GIB, 0.0).compared_with(Free(5.0 * GIB, 8.0 * GIB, shared=True))
    assert "8.00 GiB are free for both, of which the device should take no more than 5.00 GiB" in said


def test_weights_lie_on_the_device_once():
    linear = registry.load("operator", "linear")(embed_dim=1000, bias=False)
    needed = memory.needed_bytes(linear, Shape(1, 10), "float32")
    assert needed.device == 4 * (1000 * 1000 + 2 * 2 * 10 * 1000)


@pytest.mark.parametrize(
    "name", ["sdpa", "mha", "gqa", "llama_block", "transformer_encoder_layer", "transformer_decoder_layer"]
)
def test_what_attentions_reference_works_in_is_reckoned_with(name):
    problem, shape = registry.load("operator", name)(), Shape(3, 512)
    gate = Gate(NumPy(Settings()), problem, shape, "float32", Limits(1e-5, 1e-5), 0, 1)
    case = gate.draw()
    tracemalloc.start()
    correctness.reference_of_rows(problem, shape, case, gate.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    host = memory.needed_bytes(problem, shape, "float32").host
    assert peak < host < 3 * peak
    assert problem.reference_bytes(shape) > 0.5 * peak / 3  # of the rows that are checked


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_large_arrays_are_drawn_in_parts_with_the_same_values(dtype):
    shape = (3, (1 << 22) + 7)
    tracemalloc.start()
    held = Draws([1, 2], dtype).standard_normal(shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held.dtype == HELD[dtype]
    assert peak < held.nbytes + 5 * 8 * PART  # in float64 it takes 96 MiB
    whole = np.random.default_rng([1, 2])
    for part in parts(held.size):  # as many at a time as one likes: the values are the same
        np.testing.assert_array_equal(
            held.reshape(-1)[part], round_to(whole.standard_normal(part.stop - part.start), dtype)
        )
    assert Draws(3, dtype).standard_normal((2, 3)).dtype == np.float64


@pytest.mark.parametrize(("name", "gib"), [("copy", 41), ("sum", 29)])
def test_what_large_arrays_need_is_reckoned_with(name, gib):
    """A batch whose rows are checked singly, and one that is checked whole."""
    problem, shape = registry.load("operator", name)(embed_dim=1 << 20), Shape(4, 4)
    gate = Gate(NumPy(Settings()), problem, shape, "float16", Limits(5e-3, 5e-3), 0, 1)
    tracemalloc.start()
    case = gate.draw()
    (x,) = gate.arrays(case)
    call = (lambda x: x.copy()) if name == "copy" else (lambda x: x.sum(-1, dtype=np.float32).astype(np.float16))
    assert gate.first(call, call(x), case).norm < 1e-3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = problem.host_bytes(shape)
    devices = 3 * x.nbytes  # which are this memory here
    assert peak - devices < held / 4 + 1.5 * held  # as it is estimated; in float64 it is three times that
    needed = memory.needed_bytes(problem, Shape(8, 256), "float16")  # 4 GiB, of which a quarter is checked, or all
    assert needed.host / GIB == pytest.approx(gib, abs=2)


def test_long_attention_is_refused_before_it_swaps():
    sdpa = registry.load("operator", "sdpa")()
    needed = memory.needed_bytes(sdpa, Shape(1, 16384), "float32")
    assert needed.host > 3 * 8 * 16384**2 * 8
    assert not memory.fits([needed], Free(22.0 * GIB, 22.0 * GIB, shared=True), FRACTION)


def test_weights_that_a_text_reads_again_and_again_lie_on_the_device_once() -> None:
    short, long = (
        memory.needed_bytes(model("smollm2_135m", "generate", new_tokens=made), Shape(1, 16), "bfloat16").device
        for made in (2, 128)
    )
    assert short < long < 1.5 * short  # the cache grows, the weights do not
