"""The GitHub action that compares two branches: its shell steps run as they stand, in a repository whose head is slower."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mtbench

FILE = Path(__file__).parents[1] / ".github/actions/mtbench-compare/action.yml"
ACTION: dict[str, Any] = yaml.safe_load(FILE.read_text())
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in ACTION["runs"]["steps"]}

OPERATOR = '''"""Waits as long as the package under test says."""

from dataclasses import dataclass

from mtbench.operators.base import Operator


@dataclass(frozen=True)
class Kernel(Operator):
    """x."""

    def inputs(self, rng, shape):
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len))}

    def flops(self, shape):
        return 1.0

    def bytes_moved(self, shape, dtype):
        return 8.0 * shape.batch_size * shape.seq_len

    def portable(self, xp, w, x):
        return x * 1

    def numpy(self, w):
        from kernels import work

        return work
'''

PACKAGE = "import time\n\ndef work(x):\n    time.sleep({seconds})\n    return x * 1\n"

SWEEP = (
    "--config-dir bench operator=kernel framework=numpy shape.seq_len=4 sweep=none protocol=quick protocol.restarts=3 "
    "'protocol.looks=[8]' protocol.warmup_cap_s=0.5 protocol.block_ms=2 protocol.block_calls=2 protocol.target=0.5"
)


class Runner:
    """Runs steps as GitHub does, with files for what they tell, and this Python's mtbench."""

    def __init__(self, repository: Path, temporary: Path) -> None:
        self.repository = repository
        self.temporary = temporary
        self.outputs: dict[str, dict[str, str]] = {}
        self.summary = temporary / "summary.md"
        source = str(Path(mtbench.__file__).parents[1])
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": source,
            "RUNNER_TEMP": str(temporary),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def run(self, step: str, **given: str) -> subprocess.CompletedProcess[str]:
        declared = STEPS[step].get("env", {})
        assert set(given) == set(declared)
        told = self.temporary / f"{step}.output"
        told.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
            cwd=self.repository,
            env=self.environment | given | {"GITHUB_OUTPUT": str(told)},
            capture_output=True,
            text=True,
            timeout=400,
        )
        self.outputs[step] = dict(line.split("=", 1) for line in told.read_text().splitlines())
        return done


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Two commits of a package, of which the second waits six times as long, measured in turns."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "bench/operator").mkdir(parents=True)
    (repository / "bench/operator/kernel.py").write_text(OPERATOR)
    (repository / "bench/operator/kernel.yaml").write_text("# waits\nname: kernel\nparams: {}\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q", "."], cwd=repository, check=True)
    for seconds in (0.001, 0.006):
        (repository / "kernels.py").write_text(PACKAGE.format(seconds=seconds))
        subprocess.run([*git, "add", "."], cwd=repository, check=True)
        subprocess.run([*git, "commit", "-qm", f"wait {seconds}"], cwd=repository, check=True)
    runner = Runner(repository, tmp_path_factory.mktemp("runner"))
    found = runner.run("branches", BASE="HEAD~1", HEAD="HEAD", INSTALL='cp kernels.py "$TARGET"')
    assert found.returncode == 0, found.stderr
    assert runner.outputs["branches"]["base"].startswith("base (")
    found = runner.run("measure", SWEEP=SWEEP, ARMS=runner.outputs["branches"]["arms"])
    assert found.returncode == 0, found.stdout + found.stderr
    return runner


def compare(runner: Runner, limit: str) -> str:
    """The table that the step makes."""
    branches = runner.outputs["branches"]
    sweep = runner.outputs["measure"]["sweep"]
    found = runner.run("compare", SWEEP=sweep, LIMIT=limit, BASE=branches["base"], HEAD=branches["head"])
    assert found.returncode == 0, found.stderr
    return Path(runner.outputs["compare"]["table"]).read_text()


def test_a_slower_branch_fails_with_its_table(measured: Runner) -> None:
    text = compare(measured, "5%")
    assert "**Slower by more than 5%, or no longer ok**" in text
    assert re.search(r"\| base \(\w{10}\) -> head \(\w{10}\) \|.*\| slower", text)
    assert text in measured.summary.read_text()
    assert measured.outputs["compare"]["exit-code"] == "1"
    assert measured.run("verdict", CODE="1").returncode == 1


def test_the_same_within_the_limit_passes(measured: Runner) -> None:
    text = compare(measured, "2000%")
    assert "**No surely slower cell** (limit 2000%)" in text
    assert measured.outputs["compare"]["exit-code"] == "0"
    assert measured.run("verdict", CODE="0").returncode == 0


def test_a_commit_that_is_not_there_is_said(measured: Runner) -> None:
    before = measured.outputs["branches"]
    found = measured.run("branches", BASE="", HEAD="HEAD", INSTALL="true")
    measured.outputs["branches"] = before
    assert found.returncode == 2
    assert "::error::There is no commit ''" in found.stdout


def test_nothing_is_commented_without_a_token() -> None:
    """The step that comments is left out by its condition, which GitHub evaluates."""
    assert "inputs.token != ''" in STEPS["comment"]["if"]
    assert "github.event.pull_request.number" in STEPS["comment"]["if"]


def test_the_action_has_what_its_steps_name() -> None:
    """Expressions name inputs and steps that exist; none stands in a script, where its text would be run."""
    text = FILE.read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert set(re.findall(r"steps\.(\w+)\.outputs", text)) <= set(STEPS)
    assert all("${{" not in step["run"] for step in STEPS.values())
    documented = (FILE.parents[3] / "docs/ci.md").read_text()
    assert all(f"`{name}`" in documented for name in ACTION["inputs"])
