"""`mtbench which`: what it measures of which model in how many minutes, on machines that are described and not there."""

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from mtbench.catalogue.capability import Capability
from mtbench.errors import ConfigError
from mtbench.frameworks.base import Description
from mtbench.launch.which import Choice, choose, everything, fitted, model_of
from mtbench.plan.jobs import Job, Plan

CPU = {"torch": ("cpu", {}), "mlx": ("cpu", {})}


def able(kinds: dict[str, tuple[str, dict[str, str]]]) -> Any:
    """What these libraries say; all others are not installed."""

    def ask(libraries: Sequence[str], devices: Sequence[str]) -> list[Capability]:
        found = []
        for library in libraries:
            for device in devices:
                kind, lacking = kinds.get(library, ("none", {}))
                if kind == "none" or (device == "cpu") is not (kind == "cpu"):
                    found.append(Capability(library, device, "not installed"))
                    continue
                told = Description(library, "1.0", device, kind, kind, None, None, "a peak", {})
                found.append(Capability(library, device, None, told, lacking))
        return found

    return ask


@pytest.fixture(autouse=True)
def quick_mlx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLX with a fast BLAS, whatever package is installed here, and no rates kept by other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def not_there(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("mtbench.frameworks.mlx.version", not_there)


@pytest.fixture(scope="module")
def whole() -> Plan:
    """All that a machine with torch and MLX on its CPU could measure."""
    return everything("smollm2_135m", ask=able(CPU))[0]


def chosen(whole: Plan, minutes: float, slowdown: float = 1.0) -> Choice:
    return fitted(whole, ["torch", "mlx"], 60 * minutes, slowdown)


def cells(choice: Choice) -> set[tuple[str, int, int | None, str]]:
    return {(j.task.operator, j.task.shape.seq_len, j.task.shape.kv_len, j.task.dtype) for j in choice.plan.jobs}


def arms(choice: Choice, operator: str) -> set[str]:
    return {job.arm.name for job in choice.plan.jobs if job.task.operator == operator}


def test_with_time_enough_all_is_measured_and_dtypes_compete(whole: Plan) -> None:
    found = chosen(whole, 600)
    assert cells(found) == {
        (operator, seq, kv, dtype)
        for dtype in ("bfloat16", "float32")
        for operator, seq, kv in (
            ("causal_lm", 1, 128), ("causal_lm", 32, None), ("llama_block", 1, 129), ("llama_block", 32, None),
        )
    }  # fmt: skip
    assert arms(found, "causal_lm") >= {
        "torch-bfloat16",
        "torch_compiled-float32",
        "mlx-float32",
        "mlx_compiled-bfloat16",
    }
    assert found.left_out == []
    assert found.plan.protocol.restarts == 10
    assert found.seconds <= 600 * 60


def test_with_less_time_what_matters_least_is_left_out_and_told(whole: Plan) -> None:
    """Always the whole model; then a layer, then what torch compiles for long, then other dtypes."""
    sizes = [len(chosen(whole, minutes).plan.jobs) for minutes in (0.1, 5, 20, 600)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-2] <= sizes[-1]
    least = chosen(whole, 0.1)
    assert cells(least) == {("causal_lm", 1, 128, "bfloat16"), ("causal_lm", 32, None, "bfloat16")}
    assert arms(least, "causal_lm") == {"torch", "mlx", "mlx_compiled"}
    assert least.plan.protocol.restarts == 3
    text = "\n".join(least.lines())
    assert "Left out for lack of time: one layer; the whole model, compiled; the whole model in float32" in text
    assert "--minutes" in text
    assert least.plan.protocol.stop_after == 6


@pytest.mark.parametrize("minutes", [3, 5, 8, 15, 40])
def test_what_is_chosen_fits_where_anything_does(whole: Plan, minutes: float) -> None:
    found = chosen(whole, minutes)
    assert found.seconds <= 60 * minutes
    assert found.plan.protocol.stop_after == 60 * minutes


def test_a_busy_machine_gets_less_to_do_and_is_told(whole: Plan) -> None:
    idle, busy = chosen(whole, 8), chosen(whole, 8, slowdown=3.0)
    assert len(busy.plan.jobs) < len(idle.plan.jobs)
    assert any("3.0 times as long" in line for line in busy.lines())
    assert not any("busy" in line for line in idle.lines())


def test_what_will_not_be_finished_is_told_when_it_stops(whole: Plan) -> None:
    assert "It stops after 60 s, so fewer answers will be sure." in chosen(whole, 1, slowdown=20.0).lines()
    assert not any("stops" in line for line in chosen(whole, 40).lines())


def test_a_library_that_is_slow_here_leaves_time_for_less(whole: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = chosen(whole, 8)
    monkeypatch.setattr("mtbench.frameworks.mlx.version", lambda name: {"mlx-cpu": "1.0"}[name])
    slow = chosen(whole, 8)
    assert len(slow.plan.jobs) <= len(usual.plan.jobs)
    assert slow.plan.protocol.restarts < usual.plan.protocol.restarts
    assert slow.seconds <= 8 * 60
    assert slow.all_seconds > usual.all_seconds


ONLY_BFLOAT16 = {"float32": "left out here", "float16": "left out here"}


def test_a_gpu_reads_a_long_prompt_and_cuda_has_graphs_and_a_library_runs_what_it_can(whole: Plan) -> None:
    """JAX has no whole model, llama.cpp nothing else."""
    gpu = dict.fromkeys(("torch", "jax", "llama_cpp"), ("cuda", ONLY_BFLOAT16))
    plan, libraries = everything("smollm2_135m", ask=able(gpu))
    assert {job.task.shape.seq_len for job in plan.jobs} == {1, 512}
    assert {job.arm.compile.mode for job in plan.jobs if job.arm.framework == "torch"} == {None, "reduce-overhead"}
    assert not any(job.arm.compile.mode for job in whole.jobs)
    frameworks = {
        operator: {job.arm.framework for job in plan.jobs if job.task.operator == operator}
        for operator in ("causal_lm", "llama_block")
    }
    assert frameworks == {"causal_lm": {"torch", "llama_cpp"}, "llama_block": {"torch", "jax"}}
    assert {job.task.dtype for job in plan.jobs} == {"bfloat16"}  # which is all that every library has
    assert libraries == ["torch 1.0 (cuda)", "llama_cpp 1.0 (cuda)", "jax 1.0 (cuda)"]


def test_a_config_json_is_a_model_like_any_other(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "hidden_act": "silu", "tie_word_embeddings": True,
    }  # fmt: skip
    file = tmp_path / "My-Model 1.0" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(config))
    plan, _ = everything(str(file), ask=able({"mlx": ("cpu", ONLY_BFLOAT16)}))
    assert {job.task.model for job in plan.jobs} == {"my_model_1_0"}
    block: Job = next(job for job in plan.jobs if job.task.operator == "llama_block")
    assert dict(block.task.params)["embed_dim"] == 64


def test_mistakes_get_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'smollm2_135m'.*path of a config\.json"):
        everything("smolm2_135m", ask=able(CPU))
    with pytest.raises(ConfigError, match=r"cannot be read as a model's config\.json"):
        everything("nowhere/config.json", ask=able(CPU))
    with pytest.raises(ConfigError, match=r"No device 'mps'\. Did you mean 'gpu'"):
        everything("smollm2_135m", "mps", ask=able(CPU))
    with pytest.raises(ConfigError, match="--minutes 0 is not valid; give a number above 0"):
        choose("smollm2_135m", 0)
    with pytest.raises(ConfigError, match=r"No library can run a model here \(torch on cpu: not installed"):
        everything("smollm2_135m", ask=able({}))


def test_model_is_the_only_setting() -> None:
    assert model_of([]) == "smollm2_135m"
    assert model_of(["model=a/config.json"]) == "a/config.json"
    with pytest.raises(ConfigError, match="'dtype=float32' is not a setting of which"):
        model_of(["dtype=float32"])
