"""Completion of the command line, by what a word can become and by the shells themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mtbench import __main__
from mtbench.launch import commands
from mtbench.launch.completion import OPTIONS, candidates, split
from mtbench.launch.shell_scripts import SCRIPTS


def completed(line: str) -> list[str]:
    words = split(line)
    return candidates(words[:-1], words[-1])


def test_the_first_word_is_a_command_or_a_setting():
    found = completed("mtbench ")
    assert {f"{name} " for name in (*__main__.COMMANDS, *__main__.WORDS)} <= set(found)
    assert {"operator=", "+experiment=", "framework=", "shape.", "protocol.", "operator.params."} <= set(found)
    assert completed("mtbench wh") == ["which "]
    assert completed("mtbench run op") == completed("mtbench op")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("mtbench operator=top", ["operator=top_k"]),
        ("mtbench operator=mha framework=torch,nu", ["framework=torch,numpy"]),
        ("mtbench framework=numpy,num", []),
        ("mtbench +experiment=quic", ["+experiment=quick"]),
        ("mtbench operator=MH", ["operator=mha"]),
        ("mtbench shape.", ["shape.batch_size=", "shape.seq_len=", "shape.kv_len="]),
        ("mtbench operator=rms_norm operator.params.e", ["operator.params.embed_dim=", "operator.params.eps="]),
        ("mtbench operator=layer_norm framework=torch operator.variant=s", ["operator.variant=stock"]),
        ("mtbench operator=mha matmul_precision=", ["matmul_precision=highest", "matmul_precision=tf32"]),
        ("mtbench operator=mha protocol.cold_cache=", ["protocol.cold_cache=true", "protocol.cold_cache=false"]),
        ("mtbench operator=mha 'contenders=[framework,dt", ["contenders=[framework,dtype"]),
        ("mtbench operator=mha --cfg j", ["job "]),
        ("mtbench which mo", ["model="]),
        ("mtbench which model=smollm2", ["model=smollm2_135m"]),
        ("mtbench report --fo", ["--format "]),
        ("mtbench export --format py", ["pytorch ", "pyperf "]),
        ("mtbench selftest --only twins,in", ["twins,injected"]),
        ("mtbench resume a protocol.resta", ["protocol.restarts="]),
        ("mtbench help comp", ["compare ", "completion "]),
        ("mtbench completion f", ["fish "]),
    ],
)
def test_a_word_becomes_what_can_stand_there(line, found):
    assert [one for one in completed(line) if not (found and "causal_lm" in one)] == found


def test_what_stands_there_already_is_not_offered_again():
    assert "dtype=" not in completed("mtbench dtype=float32 ")
    assert "framework=torch,torch" not in completed("mtbench framework=torch,")


def test_folders_of_sweeps_arms_and_the_users_own_names_are_found(tmp_path, monkeypatch):
    for name in ("multirun/a/softmax/torch", "multirun/a/softmax/mlx", "multirun/b", "mine/operator"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mine/operator/relu2.yaml").touch()
    (tmp_path / "all.parquet").touch()
    monkeypatch.chdir(tmp_path)
    assert completed("mtbench resume ") == ["multirun/a/", "multirun/b/"]
    assert completed("mtbench compare al") == ["all.parquet "]
    assert completed("mtbench compare multirun/a:") == ["multirun/a:mlx ", "multirun/a:torch "]
    assert completed("mtbench --config-dir mi") == ["mine/"]
    assert "operator=relu2" in completed("mtbench --config-dir mine operator=r")


def test_the_options_are_those_of_the_commands():
    """They stand in a table, since Typer takes longer to import than a key may take."""
    found = {}
    for name, command in typer.main.get_command(commands.app).commands.items():  # type: ignore[attr-defined]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        found[name] = {option: each.is_flag for each in options for option in each.opts}
    assert {name: {option: kind is None for option, kind in of.items()} for name, of in OPTIONS.items()} == found
    assert set(OPTIONS) == set(__main__.COMMANDS)


def test_a_key_loads_nothing_that_takes_long():
    program = (
        "import sys\n"
        "from mtbench.__main__ import _run\n"
        "_run(['completion', '--for', 'bash', 'mtbench operator=mha framework=torch,m'])\n"
        "heavy = {'numpy', 'hydra', 'omegaconf', 'typer', 'rich', 'polars', 'torch', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["framework=torch,mlx", "framework=torch,mlx_compiled"]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `mtbench` is this one."""
    program = tmp_path / "bin" / "mtbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mtbench "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def in_shell(command: list[str], environment: dict[str, str]) -> list[str]:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert result.stderr == ""
    return result.stdout.splitlines()


def test_bash_completes_by_the_script(shell):
    """bash takes = for the end of a word, so it is given what stands behind it."""
    ask = 'COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; _mtbench; printf "%s\\n" "${COMPREPLY[@]}"'
    script = f'eval "$(mtbench completion bash)"; complete -p mtbench; {ask}'
    found = in_shell(["bash", "-c", script, "bash", "mtbench operator=mha framework=torch,m"], shell)
    assert found == ["complete -o nospace -F _mtbench mtbench", "torch,mlx", "torch,mlx_compiled"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes_by_the_script(shell):
    ask = 'mtbench completion fish | source; complete -C "mtbench operator=mha framework=torch,m"; complete -C "mtbench wh"'
    assert in_shell(["fish", "-c", ask], shell) == ["framework=torch,mlx", "framework=torch,mlx_compiled", "which"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_script_is_of_its_shells_grammar(tmp_path, name):
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    (tmp_path / "script").write_text(SCRIPTS[name])
    in_shell([name, "-n", str(tmp_path / "script")], dict(os.environ))


def test_a_shell_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        __main__._run(["completion", "tcsh"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "mtbench completion: name a shell: bash, zsh, fish.\n"
