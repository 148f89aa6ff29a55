"""A user's own quantised weights: what mlx-lm saved, and GGUF files; each run by its library, and held against itself."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from definitions.language import CONFIGS
from operator_cases import TOLERANCES, build, draw, error, framework, known_of_the_cpu, references
from test_causal_lm import lm
from test_llama_cpp import build as build_llama
from test_llama_cpp import fitting, start

from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models import gguf
from mtbench.operators.base import Shape

pytestmark = known_of_the_cpu
CausalLM = registry.load("operator", "causal_lm")
SHAPES = {"prefill": Shape(2, 7), "decode": Shape(1, 1, 12)}


def of(path: Path, phase: str = "prefill") -> Any:
    return CausalLM.from_params({"checkpoint": str(path), "phase": phase})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gguf_file_says_which_model_it_is(name: str) -> None:
    pytest.importorskip("gguf")
    problem: Any = fitting(name, "prefill")
    made, matrix_bytes = gguf.model_of(gguf.write(problem.stored(3), problem.model, "Q4_0"))
    expected = problem.model
    assert matrix_bytes == 18 / 32  # a block of 32: 16 bytes of codes and a scale
    assert made.kind == ("llama" if name == "mistral" else expected.kind)
    assert made.tensors() == expected.tensors()
    for one, other in zip(made.layers, expected.layers, strict=True):
        assert one.window == other.window
        assert (one.rope is None) == (other.rope is None)
        if one.rope is not None and other.rope is not None:
            sizes = (each.frequencies(expected.head_dim) for each in (one.rope, other.rope))
            np.testing.assert_allclose(*sizes, rtol=1e-6)
    assert (made.activation, made.tied) == (expected.activation, expected.tied)
    assert made.score_scale == pytest.approx(expected.score_scale)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "F16"])
@pytest.mark.parametrize("phase", SHAPES)
def test_a_gguf_file_is_run_as_it_is(phase: str, kind: str) -> None:
    chosen = start()
    source: Any = lm("llama3")
    problem = of(gguf.write(source.stored(3), source.model, kind), phase)
    inputs, weights = draw(problem, SHAPES[phase], "bfloat16")
    call = build_llama(chosen, problem, weights, "bfloat16")
    out = chosen.host(call(*(chosen.array(each, "bfloat16") for each in inputs)))
    assert error([out], references(problem, inputs, weights)) < TOLERANCES["bfloat16"]
    assert not problem.computes_in_dtype
    for library in ("torch", "mlx"):
        with pytest.raises(Unsupported, match="holds GGUF, which framework=llama_cpp reads"):
            build(problem, library, "native", weights, "bfloat16")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `mlx_lm.convert --quantize` leaves it."""
    mlx_utils = pytest.importorskip("mlx_lm.utils")
    source: Any = lm("llama3")
    folder = tmp_path_factory.mktemp("quantised")
    model, config = mlx_utils.load_model(source.stored(3).folder, lazy=True, model_config=CONFIGS["llama3"])
    model, config = mlx_utils.quantize_model(model, dict(config), 32, 4)
    mlx_utils.save_model(folder, model)
    mlx_utils.save_config(config, folder / "config.json")
    return folder


@pytest.mark.parametrize("phase", SHAPES)
def test_what_mlx_lm_quantised_is_run_as_it_is(phase: str, saved: Path) -> None:
    problem = of(saved, phase)
    inputs, weights = draw(problem, SHAPES[phase], "float32")
    call = build(problem, "mlx", "native", weights, "float32")
    chosen = framework("mlx")
    out = call(*(chosen.array(each, "float32") for each in inputs))
    chosen.wait(out)
    own = SimpleNamespace(**vars(weights), **call.own_weights)
    assert error([chosen.host(out)], references(problem, inputs, own)) < 1e-5
    assert not problem.quantises  # nothing tells what it was before
    assert problem.weight_bytes("bfloat16") < lm("llama3").weight_bytes("bfloat16") / 2
    with pytest.raises(Unsupported, match="mlx-lm's own quantised weights, which framework=mlx reads"):
        build(problem, "torch", "native", weights, "bfloat16")


def test_what_cannot_be_is_refused_in_a_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is stored in a number format of its own; leave weight_dtype out"):
        replace(of(saved), weight_dtype="int8")
    with pytest.raises(ConfigError, match="there is no such file"):
        of(tmp_path / "absent.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"no such thing at all")
    with pytest.raises(ConfigError, match=r"broken\.gguf is no GGUF file"):
        of(tmp_path / "broken.gguf")
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"quantization": {"mode": "mxfp4", "bits": 4, "group_size": 32}})
    )
    with pytest.raises(ConfigError, match="quantised in mode mxfp4; only mode affine has a reference"):
        of(tmp_path)
