"""A report for an issue: what helps is in it, and nothing that names a person, a host or a place in a home."""

import getpass
import platform
from pathlib import Path

import pytest

from mtbench.catalogue.capability import Capability
from mtbench.frameworks.base import Description
from mtbench.machine import describe
from mtbench.machine.finding import Finding
from mtbench.machine.issue_report import Private, issue_report

PRIVATE = Private("/Users/ada", ("ada-macbook.local", "ada-macbook", "ada"))
MLX = Description(
    "mlx", "0.32.4", "gpu", "metal", "Apple M5", None, None, "peak", {"mlx_metal_wheel": "py3-none-macosx_26_0_arm64"}
)
CAPABILITIES = [
    Capability("mlx", "gpu", description=MLX, dtypes={"float16": "no"}),
    Capability(
        "torch", "gpu", "its installation is broken: /Users/ada/secret thesis/.venv/lib/libtorch.dylib | not found"
    ),
]
FINDINGS = [
    Finding("warning", "Something keeps the GPU busy, 40 % of the time.", "Close it."),
    Finding("note", "Could not read '/Users/ada/My Files/x' on ada-macbook.local at 192.168.1.17."),
]


@pytest.fixture
def report():
    return issue_report({"chip": "Apple M5", "os": "macOS", "os_version": "26.2"}, FINDINGS, CAPABILITIES, PRIVATE)


def test_what_helps_is_in_it(report):
    for part in (
        "mtbench ",
        "| chip | Apple M5 |",
        "macOS 26.2",
        "numpy ",
        "| mlx | gpu | 0.32.4, metal, Apple M5, mlx_metal_wheel py3-none-macosx_26_0_arm64 | float32 bfloat16 |",
        "- warning: Something keeps the GPU busy, 40 % of the time.",
        "its installation is broken: (a path)",
    ):
        assert part in report


def test_nothing_private_is_in_it(report):
    for word in ("ada", "/Users", "secret", "My Files", "192.168", "macbook"):
        assert word not in report


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("in /Users/ada/work/x.py, line 3", "in (a path), line 3"),
        ("in /home/someone/x.py: no", "in (a path): no"),
        ("~/mlx-dev/.venv/bin/python is old", "(a path) is old"),
        ('File "/Users/ada/My Work/a.py", line 1', "File '(a path)', line 1"),
        ("ADA-MacBook answers; adaptive is a word", "(a name) answers; adaptive is a word"),
        ("from 10.0.0.1 and a4:83:e7:01:02:03", "from (an address) and (an address)"),
        ("torch 2.13.0 and driver 580.65.06 in /usr/lib", "torch 2.13.0 and driver 580.65.06 in /usr/lib"),
    ],
)
def test_cleaning(text, cleaned):
    assert PRIVATE.cleaned(text) == cleaned


def test_a_report_of_this_machine_names_nobody(monkeypatch):
    host, user, home = "lovelace-air", "lovelace", "/somewhere/lovelace"
    monkeypatch.setattr(platform, "node", lambda: f"{host}.fritz.box")
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    broken = Capability("torch", "cpu", f"its installation is broken: {home}/x.so is not for {user}@{host}")
    report = issue_report(describe(), [], [broken])
    assert "lovelace" not in report.lower()
    assert "fritz" not in report


def test_a_user_without_a_name_is_no_error(monkeypatch):
    def nameless():
        raise KeyError("uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert Private.here().home == str(Path.home())


def test_the_command_prints_it(monkeypatch):
    from typer.testing import CliRunner

    from mtbench.catalogue import capability
    from mtbench.launch import commands as cli

    monkeypatch.setattr(capability, "ask", lambda names: CAPABILITIES)
    monkeypatch.setattr("mtbench.machine.doctor.examine", lambda: FINDINGS)
    result = CliRunner().invoke(cli.app, ["doctor", "--report"])
    assert result.exit_code == 0
    assert result.stdout.startswith("### mtbench doctor\n")
    assert "| mlx | gpu |" in result.stdout
