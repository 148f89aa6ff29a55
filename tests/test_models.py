"""Model presets: published configurations, and the shapes that operators take from them."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from mtbench import models, paths, registry
from mtbench.console import terminal
from mtbench.errors import ConfigError
from mtbench.operators.base import Shape
from mtbench.plan import Cell
from mtbench.results import cells
from mtbench.results.record import Record, to_json

PRESETS = sorted(path.stem for path in (paths.conf() / "model").glob("*.yaml") if path.stem != "none")
BRIEF = ["protocol=quick", "protocol.restarts=1", "protocol.looks=[3]", "protocol.warmup_cap_s=0.1", "sweep=none"]


def preset(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((paths.conf() / "model" / f"{name}.yaml").read_text())
    return found


def parameters(config: dict[str, int], dim: int) -> int:
    """The parameters of one model, embeddings tied, from the sizes alone."""
    kind, hidden = str(config["model_type"]), config["hidden_size"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    norms = {"llama": 2 * hidden, "qwen3": 2 * hidden + 2 * dim, "gemma3_text": 4 * hidden + 2 * dim}[kind]
    layer = hidden * (2 * queries + 2 * keys) + 3 * hidden * config["intermediate_size"] + norms
    return config["num_hidden_layers"] * layer + config["vocab_size"] * hidden + hidden


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # as the model cards and checkpoints count them
        ("smollm2_135m", 134_515_008),
        ("qwen3_0_6b", 596_049_920),
        ("llama3_2_1b", 1_235_814_400),
        ("gemma3_1b", 999_885_952),
    ],
)
def test_a_preset_has_as_many_parameters_as_its_model(name: str, count: int) -> None:
    config = preset(name)["config"]
    assert isinstance(config, dict)
    assert parameters(config, models.dimension("head_dim", config)) == count


@pytest.mark.parametrize("name", PRESETS)
def test_every_dimension_of_a_preset_is_known(name: str) -> None:
    found = preset(name)
    assert found["name"] == name
    assert str(found["source"]).startswith("https://huggingface.co/")
    config = found["config"]
    assert isinstance(config, dict)
    assert "\n".join(config) == "\n".join(dict.fromkeys(config))
    for dimension in models.DIMENSIONS:
        value = models.dimension(dimension, config)
        assert value is not None or dimension == "window", dimension


def test_dimensions_are_those_of_the_model() -> None:
    qwen, gemma, smol = (preset(name)["config"] for name in ("qwen3_0_6b", "gemma3_1b", "smollm2_135m"))
    assert models.dimension("head_dim", qwen) == 128  # which is not embed_dim / num_heads
    assert models.dimension("head_dim", smol) == 64  # which is, and is not published
    assert [models.dimension("qk_norm", config) for config in (qwen, gemma, smol)] == [True, True, False]
    assert [models.dimension("window", config) for config in (qwen, gemma, smol)] == [None, 512, None]
    assert [models.dimension("theta", config) for config in (qwen, gemma)] == [1000000, 10000]  # as in Gemma's windows
    assert models.dimension("window", {"sliding_window": 4096, "use_sliding_window": False}) is None
    assert [models.dimension("activation", config) for config in (qwen, gemma)] == ["silu", "gelu_tanh"]


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="config has no hidden_size, so embed_dim is not known"):
        models.dimension("embed_dim", {"model_type": "llama"})


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
            ["operator=linear", "model=lacking"], "The model's config has no hidden_size, so embed_dim is not known.",
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
    cell = Cell(
        "causal_lm", registry.load("operator", "causal_lm"), tuple(sorted(json.loads(params).items())), "bfloat16",
        Shape(1, 1, 64), model="gemma3_1b",
    )  # fmt: skip
    assert terminal._named(cell) == "causal_lm gemma3_1b bfloat16 b1_s1_k64 phase=decode"


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
    assert "own forms alone" in frame.filter(status="unsupported")["reason"].item()
    missing = run(tmp_path, "operator=causal_lm", "shape.seq_len=4", "hydra.run.dir=none")
    assert missing.returncode == 2
    assert "model=smollm2_135m" in missing.stderr
