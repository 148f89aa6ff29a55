"""The program's own words, what it suggests for a mistake, and what it says of a sweep before it measures."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mtbench import __main__, __version__
from mtbench.engines.resume import Rest
from mtbench.engines.settings import EngineSettings
from mtbench.errors import ConfigError, meant
from mtbench.launch import estimate, preview
from mtbench.launch.compose import plan_of
from mtbench.launch.usage_errors import check_arguments, for_hydra
from mtbench.launch.which import choose


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int | None = None) -> str:
    """What the program prints, in this process."""
    try:
        __main__._run(list(arguments))
        ended = None
    except SystemExit as end:
        ended = end.code
    assert ended in (code, code or None)
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_without_a_request_a_short_help_teaches(capsys, arguments):
    text = said(capsys, *arguments)
    for word in ("mtbench which", "operator=mha framework=torch,mlx", "--dry-run", "report --open", "mtbench help"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 30


def test_the_commands_of_the_short_help_are_commands(capsys):
    for line in said(capsys).splitlines():
        words = line.split("  ")[1].strip().split() if line.startswith("  mtbench") else []
        if words and words[1] in (*__main__.COMMANDS, *__main__.WORDS):
            continue
        asked = [word for word in words[1:] if word not in ("...", "--dry-run")]
        check_arguments(asked)  # raises where one cannot be


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_mtbenchs(capsys, word):
    assert said(capsys, word) == f"mtbench {__version__}\n"


def test_help_of_a_command_is_that_commands(capsys):
    assert "--fail-if-slower" in said(capsys, "help", "compare", code=0)
    assert "Did you mean 'compare'?" in said(capsys, "help", "compere", code=2)
    assert "mtbench completion bash|zsh|fish" in said(capsys, "help", "completion")


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("MHA", ["mha", "sdpa"], ["mha"]),
        ("attention", ["gqa", "mha", "sdpa", "sum"], ["sdpa", "mha", "gqa"]),
        ("attention", ["mha", "sum"], ["mha"]),
        ("PyTorch", ["torch", "torch_compiled"], ["torch"]),
        ("FP16", ["float16", "float32"], ["float16"]),
        ("llama.cpp", ["llama_cpp", "mlx"], ["llama_cpp"]),
        ("op", ["operator", "model"], ["operator"]),
        ("sofmax", ["softmax", "softplus"], ["softmax"]),
        ("zzz", ["softmax", "softplus"], []),
    ],
)
def test_a_name_is_known_by_others_words_and_in_any_case(name, known, found):
    assert list(meant(name, known)) == found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("seq_len=128", "Did you mean 'shape.seq_len'?"),
        ("seqlen=128", "Did you mean 'shape.seq_len'?"),
        ("batch=8", "Did you mean 'shape.batch_size'?"),
        ("restarts=3", "Did you mean 'protocol.restarts'?"),
        ("num_heads=3", "Did you mean 'operator.params.num_heads'?"),
        ("operator=mha heads=3", "Did you mean 'operator.params.num_heads'?"),
        ("op=mha", "Did you mean 'operator'?"),
        ("library=torch", "Did you mean 'framework'?"),
        ("precision=tf32", "Did you mean 'dtype' or 'matmul_precision'?"),
        ("bf16", "did you mean dtype=bfloat16?"),
        ("MHA", "did you mean operator=mha?"),
        ("attention", "did you mean operator=sdpa?"),
        ("decode_vs_prefill", "did you mean +experiment=decode_vs_prefill?"),
        ("report=true,false", "applies to the whole sweep and takes one value"),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(arguments, says):
    with pytest.raises(ConfigError) as error:
        check_arguments(arguments.split())
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argument", "says"),
    [("operator=MHA", "'mha'"), ("operator=attention", "'sdpa', 'mha' or 'gqa'"), ("dtype=fp16", "'float16'")],
)
def test_a_value_is_answered_with_what_was_meant(argument, says):
    with pytest.raises(ConfigError) as error:
        plan_of([argument, "sweep=none"])
    assert f"Did you mean {says}?" in str(error.value)


@pytest.mark.parametrize("minutes", [float("nan"), float("inf"), 0.0, -1.0])
def test_which_refuses_minutes_that_are_none(minutes):
    with pytest.raises(ConfigError, match="is not valid; give a number above 0, such as 5"):
        choose("smollm2_135m", minutes)


# --dry-run


def test_a_dry_run_is_a_setting_to_hydra_wherever_it_stands():
    assert for_hydra(["operator=mha", "--dry-run"]) == ["dry_run=true", "operator=mha"]
    assert for_hydra(["--config-dir", "conf", "--dry-run"]) == ["--config-dir", "conf", "dry_run=true"]
    assert for_hydra(["operator=mha,sdpa", "-m", "--dry-run"]) == ["dry_run=true", "operator=mha,sdpa", "-m"]


def test_a_dry_run_says_what_when_how_long_and_how_much():
    plan = plan_of(["operator=softmax,mha", "framework=torch", "shape.seq_len=4,8", "sweep=none"])
    whole = Rest(plan, plan.protocol, plan.jobs)
    lines = list(preview.lines(whole, Path("multirun/a"), EngineSettings(), 1.0))
    assert lines[:4] == [
        "4 jobs: 4 cells, 5 restarts",
        "  arms: torch",
        "  softmax float32: b1_s4, b1_s8",
        "  mha float32: b1_s4, b1_s8",
    ]
    assert lines[4].startswith("About ")
    assert lines[4].endswith("on an idle machine; about 256 KiB below multirun/a.")
    assert lines[5:] == ["Nothing was measured or written."]
    half = Rest(plan, plan.protocol, plan.jobs[:2])
    assert estimate.seconds(replace(plan, jobs=half.jobs)) < estimate.seconds(plan)
    assert next(preview.lines(half, Path("a"), EngineSettings(), 1.0)) == "2 jobs: 2 cells, 5 restarts"
    busy = list(preview.lines(whole, Path("a"), EngineSettings(), 3.04))
    assert "The machine is busy: it takes about 3.0 times as long." in busy


def test_a_dry_run_counts_what_a_slow_library_takes(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # other tests, in other processes, keep rates in the usual one
    plan = plan_of(["operator=matmul", "framework=mlx", "shape.batch_size=8", "shape.seq_len=2048", "sweep=none"])
    usual = list(preview.lines(Rest(plan, plan.protocol, plan.jobs), Path("a"), EngineSettings(), 1.0))
    monkeypatch.setattr("mtbench.frameworks.mlx.version", lambda name: {"mlx-cpu": "1.0"}[name])
    told = list(preview.lines(Rest(plan, plan.protocol, plan.jobs), Path("a"), EngineSettings(), 1.0))
    slow = estimate.slow_s(plan)
    usual_s = estimate.seconds(plan) - slow["mlx"]
    assert slow["mlx"] == pytest.approx(60 * plan.jobs[0].task.problem.flops(plan.jobs[0].task.shape) / 2.6e9)
    assert any("of that for mlx" in line and "framework.settings.blas=" in line for line in told)
    assert len(usual) <= len(told)
    on_gpu = replace(plan, jobs=tuple(replace(job, arm=replace(job.arm, device="gpu")) for job in plan.jobs))
    assert estimate.slow_s(on_gpu) == {}
    monkeypatch.setattr("mtbench.frameworks.mlx.Mlx.slow_flops_per_s", lambda device, env, own: None)
    assert estimate.seconds(plan) == pytest.approx(usual_s)


@pytest.mark.parametrize(
    ("framework", "weights", "says"),
    [
        ("torch", "null", "up to 257 MiB of weights"),  # 134.5 million in two bytes each
        ("torch", "int8,int4", "up to 257 MiB of weights"),  # which it quantises in memory
        ("torch,llama_cpp", "null,int8,int4", "up to 722 MiB of weights"),  # and in 16, 8.5 and 4.5 bits
    ],
)
def test_a_dry_run_counts_the_files_of_a_models_weights(framework, weights, says):
    given = ["operator=causal_lm", "model=smollm2_135m", f"framework={framework}", "dtype=bfloat16", "sweep=none"]
    model = plan_of([*given, f"operator.params.weight_dtype={weights}"])
    (line,) = [
        line
        for line in preview.lines(Rest(model, model.protocol, model.jobs), Path("a"), EngineSettings(), 1.0)
        if line.startswith("About ")
    ]
    assert f"{says} in the cache folder" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "operator=softmax", "framework=numpy", "shape.seq_len=4"], "1 job: 1 cell"),
        (["operator=softmax", "framework=numpy", "shape.seq_len=4,8", "sweep=none", "report=true"], "2 jobs: 2 cells"),
    ],
    ids=["one combination", "sweep"],
)
def test_a_dry_run_measures_and_writes_nothing(tmp_path, arguments, says):
    command = [sys.executable, "-m", "mtbench", *arguments, "--dry-run"]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(says)
    assert result.stdout.endswith("Nothing was measured or written.\n")
    assert list(tmp_path.iterdir()) == []
