"""Model presets: published configurations, and the shapes that operators take from them."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from omegaconf import OmegaConf

from mtbench import paths
from mtbench.catalogue import registry
from mtbench.errors import ConfigError
from mtbench.language_models import config as published
from mtbench.language_models import dimensions
from mtbench.launch.config import register
from mtbench.operators.base import Shape
from mtbench.plain import to_json
from mtbench.plan.jobs import Arm, Task, job
from mtbench.results import cells
from mtbench.results.record import Record

PRESETS = sorted(path.stem for path in (paths.conf() / "model").glob("*.yaml") if path.stem != "none")
WHOLE = [name for name in PRESETS if name != "qwen3_30b_a3b"]
"""Those that run as a whole."""
BRIEF = ["protocol=quick", "protocol.restarts=1", "protocol.looks=[3]", "protocol.warmup_cap_s=0.1", "sweep=none"]


def preset(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((paths.conf() / "model" / f"{name}.yaml").read_text())
    return found


def parameters(config: dict[str, int], dim: int) -> int:
    """The parameters of one model, from the sizes alone."""
    kind, hidden = str(config["model_type"]), config["hidden_size"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    norms = {"qwen3": 2 * hidden + 2 * dim, "gemma3_text": 4 * hidden + 2 * dim}.get(kind, 2 * hidden)
    biases = queries + 2 * keys if kind == "qwen2" else 0
    layer = hidden * (2 * queries + 2 * keys) + 3 * hidden * config["intermediate_size"] + norms + biases
    tables = 1 if config["tie_word_embeddings"] else 2
    return config["num_hidden_layers"] * layer + tables * config["vocab_size"] * hidden + hidden


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # as the model cards and checkpoints count them
        ("smollm2_135m", 134_515_008),
        ("qwen3_0_6b", 596_049_920),
        ("llama3_2_1b", 1_235_814_400),
        ("gemma3_1b", 999_885_952),
        ("qwen2_5_0_5b", 494_032_768),
        ("smollm3_3b", 3_075_098_624),
        ("mistral_7b", 7_248_023_552),
    ],
)
def test_a_preset_has_as_many_parameters_as_its_model(name: str, count: int) -> None:
    config = preset(name)["config"]
    assert isinstance(config, dict)
    assert parameters(config, dimensions.dimension("head_dim", config)) == count
    tensors = published.parse(json.dumps(config)).tensors()
    assert sum(math.prod(shape) for shape in tensors.values()) == count


@pytest.mark.parametrize("name", PRESETS)
def test_every_dimension_of_a_preset_is_known(name: str) -> None:
    found = preset(name)
    assert found["name"] == name
    assert str(found["source"]).startswith("https://huggingface.co/")
    config = found["config"]
    assert isinstance(config, dict)
    assert "\n".join(config) == "\n".join(dict.fromkeys(config))
    dense = published.read(config).experts is None
    for dimension in dimensions.DIMENSIONS:
        if (dense and "expert" in dimension) or (dense and dimension == "norm_topk_prob"):
            with pytest.raises(ConfigError, match="has no experts; choose one that has"):
                dimensions.dimension(dimension, config)
            continue
        value = dimensions.dimension(dimension, config)
        assert value is not None or dimension == "window", dimension


def test_dimensions_are_those_of_the_model() -> None:
    qwen, gemma, smol = (preset(name)["config"] for name in ("qwen3_0_6b", "gemma3_1b", "smollm2_135m"))
    assert dimensions.dimension("head_dim", qwen) == 128  # which is not embed_dim / num_heads
    assert dimensions.dimension("head_dim", smol) == 64  # which is, and is not published
    assert [dimensions.dimension("qk_norm", config) for config in (qwen, gemma, smol)] == [True, True, False]
    assert [dimensions.dimension("window", config) for config in (qwen, gemma, smol)] == [None, 512, None]
    assert [dimensions.dimension("theta", config) for config in (qwen, gemma)] == [
        1000000,
        10000,
    ]  # as in Gemma's windows
    assert [dimensions.dimension("activation", config) for config in (qwen, gemma)] == ["silu", "gelu_tanh"]


def nested(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as transformers 5 writes it."""
    old = {name: value for name, value in config.items() if not name.startswith("rope_")}
    full = {"rope_type": "default", "rope_theta": config["rope_theta"]} | (config.get("rope_scaling") or {})
    if "rope_local_base_freq" not in config:
        return old | {"rope_parameters": full}
    windowed = {"rope_type": "default", "rope_theta": config["rope_local_base_freq"]}
    return old | {"rope_parameters": {"full_attention": full, "sliding_attention": windowed}}


def operator(name: str, config: dict[str, Any]) -> Any:
    """An operator with the parameters that its YAML takes from a model."""
    register()
    chosen = OmegaConf.create({"model": {"name": "a", "config": config}})
    chosen.operator = OmegaConf.load(paths.conf() / "operator" / f"{name}.yaml")
    params = OmegaConf.to_container(chosen.operator.params, resolve=True)
    return registry.load("operator", name).from_params(params)


@pytest.mark.parametrize("style", [dict, nested])
@pytest.mark.parametrize("name", WHOLE)
def test_every_operator_takes_the_same_from_a_model(name: str, style: Callable[[Any], dict[str, Any]]) -> None:
    config = style(preset(name)["config"])
    gqa, block, whole = (operator(each, config) for each in ("gqa", "llama_block", "causal_lm"))
    model, (layer, *_) = whole.model, whole.model.layers
    expected = (model.embed_dim, model.num_heads, model.num_kv_heads, model.head_dim, model.eps, layer.rope.theta)
    for one in (gqa, block):
        assert (one.embed_dim, one.num_heads, one.num_kv_heads, one.head_dim, one.eps, one.theta) == expected
        assert one.window == layer.window
        assert one.qk_norm == model.normalises_queries
    assert (block.mlp_dim, block.activation) == (model.mlp_dim, model.activation)
    assert model == operator("causal_lm", preset(name)["config"]).model  # type: ignore[arg-type]


def test_a_mixture_of_experts_gives_its_sizes_and_is_refused_as_a_whole() -> None:
    config: Any = preset("qwen3_30b_a3b")["config"]
    moe = operator("moe_mlp", config)
    assert (moe.embed_dim, moe.expert.hidden_dim, moe.num_experts, moe.experts_per_token) == (2048, 768, 128, 8)
    assert moe.norm_topk_prob
    with pytest.raises(ConfigError, match="causal_lm runs no mixture of experts"):
        operator("causal_lm", config)
    # 30.5 billion parameters, of which a token's own 3.3 billion: 48 layers of attention, norms, router and experts
    attention = 2048 * 128 * (2 * 32 + 2 * 4) + 2 * 2048 + 2 * 128
    whole = 48 * (attention + sum(np.prod(size) for size in moe.weight_shapes().values())) + 2 * 151936 * 2048 + 2048
    assert whole == 30_532_122_624


def test_theta_is_what_the_file_says() -> None:
    config: Any = preset("llama3_2_1b")["config"]
    assert [operator(name, nested(config)).theta for name in ("gqa", "llama_block")] == [500000.0] * 2
    assert operator("causal_lm", nested(config)).model.layers[0].rope.theta == 500000.0
    del config["rope_theta"]
    assert dimensions.dimension("theta", config) == 10000.0  # the architecture's
    with pytest.raises(ConfigError, match="The model's config has no rope_theta"):
        dimensions.dimension(
            "theta", nested(config | {"rope_theta": 1}) | {"rope_parameters": {"rope_type": "default"}}
        )


def test_a_number_is_told_as_it_is_written() -> None:
    """A job's identity is made of its parameters, in which 1000000 and 1000000.0 are two."""
    assert repr(dimensions.dimension("theta", preset("qwen3_0_6b")["config"])) == "1000000"


def test_layers_with_and_without_a_window() -> None:
    qwen, gemma = (preset(name)["config"] for name in ("qwen3_0_6b", "gemma3_1b"))
    assert isinstance(qwen, dict)
    assert isinstance(gemma, dict)
    changed = qwen | {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 20}
    windows = [layer.window for layer in published.read(changed).layers]
    assert windows == [None] * 20 + [64] * 8
    assert [layer.window for layer in published.read(gemma).layers][:7] == [512] * 5 + [None, 512]
    assert [layer.window for layer in published.read(qwen | {"sliding_window": 64}).layers] == [None] * 28


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama"}, "The model's config has no num_attention_heads."),
        (
            {"model_type": "lama"},
            "No architecture (model_type) 'lama'. Did you mean 'llama'? "
            "Known: gemma3_text, llama, mistral, qwen2, qwen3, qwen3_moe, smollm3.",
        ),
        ({"hidden_size": 1}, "The model's config has no model_type."),
    ],
)
def test_what_is_no_known_model_is_refused_in_a_line(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        dimensions.dimension("embed_dim", config)
    assert str(refused.value) == says


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtbench", *arguments], cwd=cwd, capture_output=True, text=True, timeout=240
    )


def test_an_operator_takes_its_shapes_from_a_model_and_says_so(tmp_path: Path) -> None:
    result = run(
        tmp_path, "operator=linear", "model=qwen3_0_6b,none", "framework=numpy", "shape.seq_len=2", *BRIEF,
        "hydra.sweep.dir=out", "-m",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    frame = pl.read_parquet(f"{tmp_path}/out/**/record.parquet").sort("model", nulls_last=True)
    assert frame["model"].to_list() == ["qwen3_0_6b", None]
    assert [json.loads(params)["embed_dim"] for params in frame["params"]] == [1024, 768]
    assert "qwen3_0_6b" in result.stdout


@pytest.mark.parametrize("many", [[], ["-m"]])
@pytest.mark.parametrize(
    ("folder", "file", "text", "arguments", "says"),
    [
        (
            "operator", "lin.yaml", "name: linear\nparams:\n  embed_dim: ${mtbench.model:embd_dim,768}\n",
            ["operator=lin", "model=qwen3_0_6b"], "No dimension of a model 'embd_dim'. Did you mean 'embed_dim'?",
        ),
        (
            "model", "lacking.yaml", "name: lacking\nsource: null\nconfig:\n  vocab_size: 9\n",
            ["operator=linear", "model=lacking"], "The model's config has no model_type.",
        ),
        ("model", "x.yaml", "name: x\n", ["model=qwen3"], "No model 'qwen3'. Did you mean 'qwen3_0_6b'?"),
    ],
)  # fmt: skip
def test_a_mistake_with_a_model_is_one_line(
    tmp_path: Path, folder: str, file: str, text: str, arguments: list[str], says: str, many: list[str]
) -> None:
    (tmp_path / "mine" / folder).mkdir(parents=True)
    (tmp_path / "mine" / folder / file).write_text(text)
    result = run(tmp_path, "--config-dir", "mine", *arguments, "sweep=none", *many)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert says in line


def test_a_terminal_names_the_model_and_not_its_configuration() -> None:
    params = to_json({"config": '{"hidden_size": 1}', "phase": "decode"})
    records = [
        Record(
            operator="causal_lm", framework="torch", mode="eager", variant="native", arm="torch", device="cpu",
            dtype="bfloat16", matmul_precision="highest", batch_size=1, seq_len=1, kv_len=64, params=params,
            sweep_id="s", cell_id=model, job_id=model, status="ok", model=model,
        )
        for model in ("qwen3_0_6b", "gemma3_1b")
    ]  # fmt: skip
    held = [of for of, _ in cells.by_cell(records)]
    titles = [of.title(cells.differing(held, "causal_lm")) for of in held]
    assert titles == [f"causal_lm {model} bfloat16 batch 1 seq 1 kv 64" for model in ("gemma3_1b", "qwen3_0_6b")]


def test_a_cell_names_the_model_and_not_its_configuration() -> None:
    params = (("config", '{"hidden_size": 1}'), ("phase", "decode"))
    task = Task("causal_lm", params, "bfloat16", Shape(1, 1, 64), model="gemma3_1b")
    assert str(job(task, Arm("torch"), 1e-2).cell) == "causal_lm gemma3_1b bfloat16 b1_s1_k64 phase=decode"


def test_a_whole_model_is_measured_in_both_libraries(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    config = {
        "model_type": "qwen3", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64, "rms_norm_eps": 1e-6,
        "rope_theta": 1000.0, "max_position_embeddings": 64, "tie_word_embeddings": True, "hidden_act": "silu",
    }  # fmt: skip
    (tmp_path / "mine/model/tiny.yaml").write_text(yaml.safe_dump({"name": "tiny", "source": None, "config": config}))
    result = run(
        tmp_path, "--config-dir", "mine", "operator=causal_lm", "model=tiny", "framework=torch,mlx,mlx_compiled,numpy",
        "operator.params.phase=decode", "shape.seq_len=1", "shape.kv_len=9", "device=cpu", *BRIEF,
        "hydra.sweep.dir=out", "-m",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    frame = pl.read_parquet(f"{tmp_path}/out/**/record.parquet").sort("framework", "mode", descending=[False, True])
    assert frame.select("framework", "mode", "status").rows() == [
        ("mlx", "eager", "ok"), ("mlx", "compiled", "ok"), ("numpy", "eager", "unsupported"), ("torch", "eager", "ok"),
    ]  # fmt: skip
    assert frame.filter(status="ok")["warnings"].list.join(" ").str.contains("recompiled").any() is False
    assert frame.filter(status="ok")["tokens"].to_list() == [1, 1, 1]
    assert "only in the library's own form" in frame.filter(status="unsupported")["reason"].item()
    missing = run(tmp_path, "operator=causal_lm", "shape.seq_len=4", "hydra.run.dir=none")
    assert missing.returncode == 2
    assert "model=smollm2_135m" in missing.stderr
