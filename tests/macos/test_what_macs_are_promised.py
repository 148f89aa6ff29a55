"""What the repository's own files say for Macs, where no code would fail: workflow, pins, checks and `just quick`."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from mtbench.launch.compose import plan_of

ROOT = Path(__file__).parents[2]
MAC = {"sys_platform": "darwin", "platform_system": "Darwin"}


def wanted_on_a_mac(lines: list[str], python: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    here = MAC | {"python_version": python}
    return {one.name: one for one in found if one.marker is None or one.marker.evaluate(here)}


def pinned_on_a_mac(python: str) -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return wanted_on_a_mac(list(filter(None, lines)), python)


def test_the_workflow_runs_on_macs_that_exist_and_asks_nothing_of_their_virtual_gpu() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["macos"]
    assert job["strategy"]["matrix"] == {"os": ["macos-15", "macos-26"], "python": ["3.11", "3.14"]}
    quick = [step for step in job["steps"] if "just quick" in step.get("run", "")]
    may_fail = {step["run"].rpartition("device=")[2]: step.get("continue-on-error", False) for step in quick}
    assert may_fail == {"cpu": False, "gpu": True}


def test_types_are_checked_for_macos_too() -> None:
    (check,) = re.findall(r"^check: setup\n((?:    .*\n)+)", (ROOT / "justfile").read_text(), re.MULTILINE)
    assert "mypy --platform darwin" in check
    assert "just check" in (ROOT / ".ci/run").read_text()


def test_nothing_is_compiled_where_no_wheel_exists() -> None:
    metal = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["metal"]
    for python, has_wheel in {"3.11": True, "3.13": True, "3.14": False}.items():
        for wanted in (wanted_on_a_mac(metal, python), pinned_on_a_mac(python)):
            assert ("zeus-apple-silicon" in wanted) is has_wheel, python


def test_a_mac_gets_a_torch_without_the_wrong_results_that_are_known() -> None:
    # 2.13: three kinds of wrong products on MPS, which docs/known_issues.md lists
    (pin,) = pinned_on_a_mac("3.14")["torch"].specifier
    assert Version(pin.version) >= Version("2.14")


def test_the_rounds_of_the_quick_sweep_fit_into_a_visit_on_a_gpu() -> None:
    # fewer rounds give intervals that hold with less confidence than asked for
    protocol = plan_of(["+experiment=quick"]).protocol
    on_gpu, on_cpu, modes = 2, 1, 2  # arms: torch and MLX, and NumPy; latency and throughput
    block_s, warm_s = protocol.block_ms / 1e3, protocol.keep_warm_ms / 1e3
    round_s = modes * (on_gpu * (block_s + warm_s) + on_cpu * block_s)
    assert max(protocol.looks) * round_s < protocol.visit_budget_s
