"""Whole language models: every architecture of a preset, in both libraries, and the caches as generation fills them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from definitions.language import CONFIGS, bytes_moved, causal_lm, flops
from operator_cases import TOLERANCES, build, draw, error, framework, outputs, references

from mtbench import paths
from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models import checkpoint
from mtbench.operators.base import Operator, Shape

PREFILL = [Shape(2, 12), Shape(1, 5)]
BEHIND = [Shape(2, 12, 20), Shape(1, 5, 2), Shape(1, 5, 5), Shape(2, 3, 8)]
"""A prompt after a context, with a window of 8: beyond it, within, beyond with the prompt, full before it."""
DECODE = [
    Shape(2, 1, 20),
    Shape(1, 1, 5),
    Shape(1, 1, 7),
    Shape(1, 1, 8),
]  # a window of 8: beyond, within, full with it


def lm(name: str, phase: str = "prefill", **changes: Any) -> Operator:
    config = json.dumps(CONFIGS[name] | changes, sort_keys=True)
    problem: Operator = registry.load("operator", "causal_lm").from_params({"config": config, "phase": phase})
    return problem


CASES = [(name, phase) for name in CONFIGS for phase in ("prefill", "decode")]


def shapes(phase: str, name: str) -> list[Shape]:
    behind = BEHIND if "sliding_window_pattern" in CONFIGS[name] else BEHIND[:1]
    return [*PREFILL, *behind] if phase == "prefill" else DECODE


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_the_reference_is_the_published_architecture(name: str, phase: str) -> None:
    problem = lm(name, phase)
    for shape in shapes(phase, name):
        inputs, weights = draw(problem, shape)
        expected = causal_lm(problem, vars(weights), *map(torch.from_numpy, inputs)).numpy()
        np.testing.assert_allclose(*references(problem, inputs, weights), expected, rtol=1e-8, atol=1e-10)
        assert problem.flops(shape) == flops(problem, shape)
        if name != "gemma3":
            assert problem.bytes_moved(shape, "bfloat16") == bytes_moved(problem, shape, "bfloat16")


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("library", ["torch", "mlx"])
@pytest.mark.parametrize(("name", "phase"), CASES)
def test_both_libraries_run_the_same_model(name: str, phase: str, library: str, dtype: str) -> None:
    problem = lm(name, phase)
    for shape in shapes(phase, name):
        inputs, weights = draw(problem, shape, dtype)
        expected = references(problem, inputs, weights)
        call = build(problem, library, "native", weights, dtype)
        arrays = [framework(library).array(values, dtype) for values in inputs]
        for _ in range(3):  # a call leaves the cache as it was
            out = call(*arrays)
            framework(library).wait(out)
            assert error([framework(library).host(out)], expected) < TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("library", "name", "phase", "shape"),
    [
        *[
            ("mlx", name, phase, shape)
            for name, phase in CASES
            for shape in (PREFILL if phase == "prefill" else DECODE)[:2]
        ],
        *[("mlx", "gemma3", "prefill", shape) for shape in BEHIND],  # which has both kinds of layers
        ("torch", "gemma3", "prefill", Shape(2, 12)),  # seconds each
        ("torch", "gemma3", "prefill", Shape(2, 12, 20)),
        ("torch", "gemma3", "decode", Shape(2, 1, 20)),
    ],
)
def test_compiled_models_keep_their_caches(library: str, name: str, phase: str, shape: Shape) -> None:
    problem, chosen = lm(name, phase), framework(library)
    inputs, weights = draw(problem, shape, "float32")
    others, _ = draw(problem, shape, "float32", seed=1)
    other = references(problem, others, weights)
    expected = references(problem, inputs, weights)
    call = forms.compiled(chosen, build(problem, library, "native", weights, "float32"))
    try:
        arrays, other_arrays = ([chosen.array(each, "float32") for each in given] for given in (inputs, others))
        compilations = None
        for given, right in ((arrays, expected), (other_arrays, other), (arrays, expected), (arrays, expected)):
            out = call(*given)
            chosen.wait(out)
            assert error([chosen.host(out)], right) < 1e-5
            compilations = compilations or chosen.compilations()
        assert chosen.compilations() == compilations
    finally:
        chosen.clear()


@pytest.mark.parametrize(
    ("phase", "shape"), [("prefill", PREFILL[0]), ("decode", DECODE[0]), *[("prefill", shape) for shape in BEHIND]]
)
def test_a_compiled_model_is_one_graph(phase: str, shape: Shape) -> None:
    # a CUDA graph is skipped where a part of the cache is made outside the compiled graph and changed within
    problem = lm("gemma3", phase)  # which has both kinds of layers
    inputs, weights = draw(problem, shape, "float32")
    model = build(problem, "torch", "native", weights, "float32")
    call = model.compiled(lambda step, **settings: torch.compile(step, backend="eager", fullgraph=True))
    arrays = [framework("torch").array(each, "float32") for each in inputs]
    for _ in range(2):  # a call leaves the cache as it was
        assert error([framework("torch").host(call(*arrays))], references(problem, inputs, weights)) < 1e-5


@pytest.mark.parametrize(("phase", "new"), [("decode", 1), ("prefill", 5)])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_text_goes_on_from_what_a_prompt_left_in_the_cache(name: str, phase: str, new: int) -> None:
    """The cache that transformers fills with a prompt, given to either phase, answers new tokens as a longer prompt does."""
    from transformers import DynamicCache

    prompt, step = lm(name), lm(name, phase)
    (tokens,), weights = draw(prompt, Shape(2, 6 + new), "float64")
    whole = references(prompt, [tokens], weights)
    model = build(prompt, "torch", "native", weights, "float32")._model
    cache = DynamicCache(config=model.config)
    model(framework("torch").array(tokens[:, :-new], "float32"), past_key_values=cache, use_cache=True)
    keys, values = (
        torch.stack([getattr(layer, part) for layer in cache.layers], 1).cpu().double().numpy()
        for part in ("keys", "values")
    )
    for library in ("torch", "mlx"):
        call = build(step, library, "native", weights, "float32")
        assert error(outputs(call, library, [tokens[:, -new:], keys, values], "float32"), whole) < 1e-5


def test_weights_are_written_once_and_are_numbers_of_every_dtype() -> None:
    problem = lm("qwen3")
    _, weights = draw(problem, Shape(1, 2))
    stored = problem.stored(int(weights.seed[0]))  # type: ignore[attr-defined]
    assert stored.folder.parent == paths.cache() / "models"
    before = (stored.folder / "model.safetensors").stat().st_mtime_ns
    again = problem.stored(int(weights.seed[0]))  # type: ignore[attr-defined]
    assert (again.folder / "model.safetensors").stat().st_mtime_ns == before
    assert problem.stored(1).folder != stored.folder  # type: ignore[attr-defined]
    for name in problem.model.tensors():  # type: ignore[attr-defined]
        values = stored.read(name)
        assert values.std() > 0
        np.testing.assert_array_equal(values.astype(np.float16), values)
        np.testing.assert_array_equal(torch.from_numpy(values.copy()).to(torch.bfloat16).double().numpy(), values)
    assert sorted(entry.name for entry in stored.folder.iterdir()) == ["config.json", "model.safetensors"]


def test_what_is_half_written_is_never_found(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "part").write_text("")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        checkpoint.kept(tmp_path / "model", write)
    assert list(tmp_path.iterdir()) == []
    made = checkpoint.kept(tmp_path / "model", lambda folder: (folder / "a").touch())
    assert [entry.name for entry in made.iterdir()] == ["a"]


def test_the_reference_is_kept_and_other_inputs_have_another(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = lm("llama3")
    inputs, weights = draw(problem, Shape(1, 3), seed=5)
    first = references(problem, inputs, weights)
    monkeypatch.setattr("mtbench.operators.causal_lm.last_logits", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(references(problem, inputs, weights), first)
    with pytest.raises(pytest.fail.Exception):
        references(problem, [(inputs[0] + 1) % 128], weights)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_local_checkpoint_is_run_as_it_is(name: str, tmp_path: Path) -> None:
    """One as transformers saves it, in float32 and in its own words."""
    from transformers import AutoConfig, AutoModelForCausalLM

    made = AutoConfig.for_model(**CONFIGS[name])
    with torch.inference_mode(False):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(made).save_pretrained(tmp_path / "own")
    causal = registry.load("operator", "causal_lm")
    problem = causal.from_params({"checkpoint": str(tmp_path / "own")})
    assert problem.has_trained_weights
    assert not lm(name).has_trained_weights
    inputs, weights = draw(problem, Shape(2, 6), "float32")
    expected = references(problem, inputs, weights)
    for library in ("torch", "mlx"):
        call = build(problem, library, "native", weights, "float32")
        assert error(outputs(call, library, inputs, "float32"), expected) < 1e-5
    chosen = {"checkpoint": str(tmp_path / "own"), "config": json.dumps(CONFIGS["qwen3"] | {"num_hidden_layers": 3})}
    with pytest.raises(ConfigError, match="of another model"):
        causal.from_params(chosen)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        causal.from_params({"checkpoint": str(tmp_path / "nothing")})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mamba"}, "No architecture (model_type) 'mamba'."),
        ({"attention_bias": True}, "attention_bias=True is not supported for llama"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu is not supported for llama"),
        (
            {"model_type": "mistral"},
            "sliding_window=4096 is not supported for mistral",
        ),  # which is what leaving it out means
        ({"model_type": "smollm3", "no_rope_layers": [1]}, "no_rope_layers has 1 values for 2 layers"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "rotary scaling of type 'yarn' is not supported"),
        ({"hidden_size": "wide"}, "is not the config.json of a model: invalid literal for int() with base 10: 'wide'."),
        ({"vocab_size": None}, "is not the config.json of a model"),
    ],
)
def test_a_model_that_would_be_run_wrongly_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        lm("smollm2", **changes)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_is_given_by_its_files_name_and_written_out(tmp_path: Path) -> None:
    causal = registry.load("operator", "causal_lm")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["qwen2"], indent=2))
    for given in (tmp_path, tmp_path / "config.json"):
        params = causal.written_out({"config": str(given), "phase": "decode"})
        assert causal.from_params(params) == lm("qwen2", "decode")
        assert causal.written_out(params) == params
    (tmp_path / "broken.json").write_text("model")
    for name, says in (("nowhere.json", "there is no such file"), ("broken.json", "is not JSON")):
        with pytest.raises(ConfigError, match=says):
            causal.written_out({"config": str(tmp_path / name)})


def test_it_says_what_is_missing() -> None:
    causal = registry.load("operator", "causal_lm")
    with pytest.raises(ConfigError, match="choose one, such as model=smollm2_135m"):
        causal.from_params({})
    config = {name: value for name, value in CONFIGS["smollm2"].items() if name != "vocab_size"}
    with pytest.raises(ConfigError, match="has no vocab_size"):
        causal.from_params({"config": json.dumps(config)})
    for phase, shape, says in (
        ("decode", Shape(1, 4, 9), "seq_len=1, not 4"),
        ("decode", Shape(1, 1), "^decode goes through a cache that holds other tokens; give shape.kv_len"),
    ):
        with pytest.raises(ConfigError, match=says):
            lm("smollm2", phase).check(shape)


@pytest.mark.parametrize(("library", "package"), [("torch", "transformers"), ("mlx", "mlx_lm")])
def test_without_its_package_it_is_unsupported(library: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = lm("smollm2")
    _, weights = draw(problem, Shape(1, 2))
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("sys.meta_path", [Absent(package), *sys.meta_path])
    with pytest.raises(Unsupported, match=r"pip install 'mtbench\[lm\]'"):
        build(problem, library, "native", weights, "float32")


class Absent:
    """An import system in which a package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=self.package)


def test_mlx_says_that_it_rounds_gemmas_embeddings() -> None:
    problem = lm("gemma3", hidden_size=72)
    _, weights = draw(problem, Shape(1, 2))
    with pytest.raises(Unsupported, match=r"bfloat16 \(8.5 for 8.485\)"):
        build(problem, "mlx", "native", weights, "float32")
    assert build(problem, "mlx", "native", weights, "bfloat16")


def test_memory_on_the_host_is_of_a_layer_and_not_of_the_model() -> None:
    config = {"num_hidden_layers": 100, "vocab_size": 50_000}
    problem = lm("smollm2", **config)
    assert problem.host_bytes(Shape(1, 4)) < problem.bytes_moved(Shape(1, 4), "float64") / 2
    assert lm("smollm2", "decode").host_bytes(Shape(4, 1, 99)) > 8 * 2 * 4 * 2 * 2 * 99 * 24
