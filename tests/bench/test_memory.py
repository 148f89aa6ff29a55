"""Whether a cell fits: one pot or two, weights once, attention's scores, and small models on a small Mac."""

import json
import math
import tracemalloc
from pathlib import Path

import pytest
import yaml

from mtbench.bench.controller import memory
from mtbench.bench.controller.memory import Free, Needed
from mtbench.bench.worker import calibration, correctness
from mtbench.catalogue import registry
from mtbench.operators.base import Shape
from mtbench.plan.protocol import Protocol

GIB = 1 << 30
MODELS = Path(__file__).parents[2] / "conf" / "model"
FRACTION = Protocol().memory_fraction

# An 8 GB Mac with a browser open, and Metal's recommendation for its M1.
AIR = Free(device=4.0 * GIB, host=4.0 * GIB, shared=True)
AIR_WORKING_SET = 5726633984


def model(name: str, phase: str) -> object:
    config = yaml.safe_load((MODELS / f"{name}.yaml").read_text())["config"]
    return registry.load("operator", "causal_lm")(config=json.dumps(config), phase=phase)


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


def test_the_recommended_working_set_limits_the_device(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    assert memory.free(None) == Free(100.0, 100.0, shared=True)
    assert memory.free(None, 60) == Free(60.0, 100.0, shared=True)
    assert memory.free(1000) == Free(1000.0, 100.0)
    assert not memory.fits([Needed(61.0, 0.0)], memory.free(None, 60), 1.0)
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
    case = correctness.draw(problem, shape, "float32", 0)
    tracemalloc.start()
    correctness.expect(problem, shape, case)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    host = memory.needed_bytes(problem, shape, "float32").host
    assert peak < host < 3 * peak
    assert problem.reference_bytes(shape) > 0.5 * peak / 3  # of the rows that are checked


def test_long_attention_is_refused_before_it_swaps():
    sdpa = registry.load("operator", "sdpa")()
    needed = memory.needed_bytes(sdpa, Shape(1, 16384), "float32")
    assert needed.host > 3 * 8 * 16384**2 * 8
    assert not memory.fits([needed], Free(22.0 * GIB, 22.0 * GIB, shared=True), FRACTION)


class Sizes:
    """A framework whose arrays are the numbers of their bytes' elements, and that notes the largest."""

    def __init__(self) -> None:
        self.largest = 0

    @property
    def xp(self):
        return self

    def array(self, host, dtype):
        return host.size

    def tile(self, tile, repetitions):
        made = tile * math.prod(repetitions)
        self.largest = max(self.largest, made)
        return made

    def settle(self, out):
        pass

    def matmul(self, x, w):
        return x


@pytest.mark.parametrize(("most_bytes", "side"), [(4 * 1024**2 * 4, 1024), (1, 256), (math.inf, 16384)])
def test_products_for_the_peaks_stay_within_what_is_free(monkeypatch, most_bytes, side):
    monkeypatch.setattr(calibration, "_waited_ns", lambda subject: 1.0)
    monkeypatch.setattr(calibration, "_best_block_ns", lambda *_: 1.0)
    framework = Sizes()
    calibration._best_product(framework, lambda *_, **__: None, "float32", Protocol(), 60.0, most_bytes)
    assert framework.largest == side**2


def test_a_worker_gives_its_peaks_an_eighth_of_what_is_free(monkeypatch):
    from types import SimpleNamespace

    from mtbench.bench import wire
    from mtbench.bench.rates import Rates
    from mtbench.bench.worker import worker

    seen = []
    monkeypatch.setattr(worker.calibration, "peak_rates", lambda *args: (seen.append(args[-1]), Rates())[1])
    monkeypatch.setattr(worker, "available_bytes", lambda: 8000)
    made = worker.Worker()
    made.framework = SimpleNamespace(check_dtype=lambda dtype: None, free_bytes=lambda: None)
    made.description, made.protocol = SimpleNamespace(device="cpu"), Protocol()
    made.peaks(wire.MeasurePeaks("float32"))
    made.framework.free_bytes = lambda: 80_000
    made.peaks(wire.MeasurePeaks("float32"))
    assert seen == [1000, 10_000]


def test_moves_for_the_peaks_stay_within_what_is_free(monkeypatch):
    seen = []
    monkeypatch.setattr(calibration, "_best_product", lambda *_: 1.0)
    monkeypatch.setattr(calibration, "_moves", lambda *args: (seen.append(args[-2]), {1: 1.0})[1])
    for most_bytes in (math.inf, 1 << 20):
        calibration.peak_rates(None, None, "float32", True, Protocol(), 1.0, most_bytes)
    assert seen == [calibration.WORKING_SETS[-1], 1 << 19]
