"""llama.cpp's whole models against the same reference as the others', and the files that they are loaded from."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from definitions.language import CONFIGS
from operator_cases import TOLERANCES, draw, error, references
from test_causal_lm import Absent, lm, shapes

from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.language_models import gguf
from mtbench.operators.base import Operator, Shape

FITTING: dict[str, dict[str, Any]] = {"gemma3": {"query_pre_attn_scalar": 24}}
"""What llama.cpp takes for granted of an architecture."""


def start(**settings: Any) -> Framework:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed, which is compiled for minutes")
    made: Framework = registry.load("framework", "llama_cpp")(Settings(**{"device": "cpu", "threads": 1} | settings))
    return made


@pytest.fixture(scope="module")
def llama() -> Framework:
    return start()


def fitting(name: str, phase: str, **changes: Any) -> Operator:
    return lm(name, phase, **FITTING.get(name, {}) | changes)


def build(framework: Framework, problem: Operator, weights: SimpleNamespace, dtype: str) -> Any:
    arrays = SimpleNamespace(**{name: framework.array(values, dtype) for name, values in vars(weights).items()})
    return forms.build(framework, problem, "native", arrays)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_is_run_as_it_is_defined(name: str, phase: str, dtype: str, llama: Framework) -> None:
    problem = fitting(name, phase)
    if name == "gemma3" and dtype == "float32":
        with pytest.raises(Unsupported, match="GELU on the CPU is a table of float16"):
            build(llama, problem, draw(problem, Shape(1, 2))[1], dtype)
        return
    for shape in shapes(phase, name):
        inputs, weights = draw(problem, shape, dtype)
        expected = references(problem, inputs, weights)
        call = build(llama, problem, weights, dtype)
        arrays = [llama.array(values, dtype) for values in inputs]
        for _ in range(3):  # a call leaves the cache as it was
            assert error([llama.host(call(*arrays))], expected) < TOLERANCES[dtype]


def test_other_inputs_have_other_answers_and_the_first_are_not_lost(llama: Framework) -> None:
    problem = lm("qwen3", "decode")
    cases = [draw(problem, Shape(2, 1, 9), "float32", seed=seed) for seed in (0, 1)]
    weights = cases[0][1]
    expected = [references(problem, inputs, weights) for inputs, _ in cases]
    call = build(llama, problem, weights, "float32")
    arrays = [[llama.array(values, "float32") for values in inputs] for inputs, _ in cases]
    for index in (0, 1, 0):
        assert error([llama.host(call(*arrays[index]))], expected[index]) < 1e-5


def test_a_prompt_longer_than_what_is_computed_at_a_time() -> None:
    framework = start(own=(("ubatch_size", 8),))
    problem = lm("smollm2")
    inputs, weights = draw(problem, Shape(2, 21), "float32")
    call = build(framework, problem, weights, "float32")
    assert (
        error([framework.host(call(framework.array(inputs[0], "float32")))], references(problem, inputs, weights))
        < 1e-5
    )


def test_a_context_that_a_windows_cache_would_drop_is_refused(llama: Framework) -> None:
    problem, shape = fitting("gemma3", "prefill"), Shape(1, 9, 20)
    inputs, weights = draw(problem, shape, "bfloat16")
    few = start(own=(("ubatch_size", 8),))
    with pytest.raises(Unsupported, match=r"drops the context after 8 more tokens.*ubatch_size=9\.$"):
        build(few, problem, weights, "bfloat16")(*(few.array(values, "bfloat16") for values in inputs))


def test_its_kernel_for_attention_is_of_float16_and_so_not_the_default_in_float32() -> None:
    problem = lm("smollm2")
    inputs, weights = draw(problem, Shape(1, 9), "float32")
    expected = references(problem, inputs, weights)
    found = {}
    for attention in ("enabled", "disabled"):
        framework = start(own=(("flash_attention", attention),))
        call = build(framework, problem, weights, "float32")
        found[attention] = error([framework.host(call(framework.array(inputs[0], "float32")))], expected)
    assert found["disabled"] < 1e-5 < found["enabled"] < 1e-3


def test_threads_are_those_that_are_asked_for() -> None:
    assert start(threads=3).describe().threads == 3
    usual = start(threads=None).describe()
    assert (usual.threads or 0) >= 1
    assert "CPU" in usual.details["system_info"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"matmul_precision": "tf32"}, "leave matmul_precision at highest"),
        ({"own": (("flash_attention", "maybe"),)}, "flash_attention=maybe cannot be set; llama.cpp has auto, disabled"),
    ],
)
def test_settings_that_it_has_not_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        start(**settings)


def test_it_runs_whole_models_alone(llama: Framework) -> None:
    softmax = registry.load("operator", "softmax")()
    with pytest.raises(Unsupported, match=r"^llama_cpp runs only whole models: operator=causal_lm\.$"):
        forms.build(llama, softmax, "native", SimpleNamespace())
    with pytest.raises(Unsupported, match="no compiler"):
        llama.compile(lambda: None)


def test_without_it_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == "llama_cpp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("sys.meta_path", [Absent("llama_cpp"), *sys.meta_path])
    with pytest.raises(Unsupported, match=r"pip install 'mtbench\[llama_cpp\]'") as refused:
        registry.load("framework", "llama_cpp")(Settings())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0", "Q4_0"])
def test_a_file_has_the_weights_that_were_written(name: str, kind: str) -> None:
    pytest.importorskip("gguf")
    problem: Any = fitting(name, "prefill", hidden_size=64)
    stored = problem.stored(7)
    file = gguf.write(stored, problem.model, kind)
    read = gguf.read(file, problem.model)
    step = {"F32": 0.0, "BF16": 0.0, "Q8_0": 0.5 / 127, "Q4_0": 1 / 8}[kind]  # of the largest value of a block
    for tensor, shape in problem.model.tensors().items():
        values, found = stored.read(tensor), read(tensor)
        assert found.shape == shape
        if len(shape) == 1:  # float32: Gemma's have 1 added, and taken off again
            np.testing.assert_allclose(found, values, atol=1e-7)
            continue
        blocks = (shape[0], -1, gguf.BLOCK)
        largest = np.abs(values.reshape(blocks)).max(axis=-1, keepdims=True)
        rounding = 1e-3 if step else 0.0  # of a scale, which is float16
        assert (np.abs(found - values).reshape(blocks) <= (step + rounding) * largest).all()
    assert gguf.write(stored, problem.model, kind) == file
    np.testing.assert_array_equal(read("model.embed_tokens.weight", [3, 5]), read("model.embed_tokens.weight")[[3, 5]])


@pytest.mark.parametrize(
    ("name", "kind", "changes", "says"),
    [
        (
            "smollm3",
            "F32",
            {"no_rope_layers": [1, 0, 1, 1]},
            "smollm3 has no rotary embedding in one layer of 4; in this model other layers lack it",
        ),
        ("gemma3", "F32", {"query_pre_attn_scalar": 99}, "scales scores by head_dim"),
        (
            "smollm2",
            "Q4_0",
            {"intermediate_size": 80},
            "blocks of 32, and model.layers.0.mlp.down_proj.weight has rows of 80",
        ),
    ],
)
def test_a_model_that_llama_cpp_would_run_as_another_is_refused(
    name: str, kind: str, changes: dict[str, Any], says: str
) -> None:
    problem: Any = lm(name, **changes)
    with pytest.raises(Unsupported, match=says):
        gguf.write(problem.stored(0), problem.model, kind)


def test_without_gguf_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gguf", raising=False)
    monkeypatch.setattr("sys.meta_path", [Absent("gguf"), *sys.meta_path])
    with pytest.raises(Unsupported, match=r"pip install 'mtbench\[llama_cpp\]'"):
        gguf.package()


def test_a_model_says_all_that_llama_cpp_needs_to_know() -> None:
    package = pytest.importorskip("gguf")
    problem: Any = fitting("gemma3", "prefill")
    fields = package.GGUFReader(gguf.write(problem.stored(7), problem.model, "BF16")).fields
    said = {name: field.contents() for name, field in fields.items()}
    config = json.loads(problem.config)
    assert said["gemma3.attention.sliding_window"] == config["sliding_window"]
    assert said["gemma3.attention.sliding_window_pattern"] == config["sliding_window_pattern"]
    assert (said["gemma3.rope.freq_base"], said["gemma3.rope.freq_base_swa"]) == (10000.0, 500.0)
    assert said["tokenizer.ggml.model"] == "no_vocab"
