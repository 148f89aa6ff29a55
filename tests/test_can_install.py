"""What `just setup` says where mtbench cannot be installed: on pretended machines, by a pretended Python."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci/can_install"
SHELL = shutil.which("sh") or "sh"


def ask(folder: Path, python: Path | str, **programs: str) -> subprocess.CompletedProcess[str]:
    """can_install's answer where nothing is on the PATH but these programs, each given as the lines of a shell script."""
    folder = folder / "bin"
    folder.mkdir()
    for name, lines in programs.items():
        script(folder / name.replace("__", "."), lines)
    command = [SHELL, SCRIPT, python]
    return subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True, timeout=60, check=False)


def script(path: Path, lines: str) -> Path:
    path.write_text(f"#!{SHELL}\n{lines}\n")
    path.chmod(0o755)
    return path


def python(folder: Path, answer: str) -> Path:
    return script(folder / "python", f"echo {answer}")


def mac(processor: str = "arm64", macos: str = "15.6.1", translated: bool = False) -> dict[str, str]:
    """What a Mac's own programs answer; Intel's have no proc_translated."""
    absent = "echo 'sysctl: unknown oid' >&2; exit 1"
    known = f"echo {int(translated)}" if processor == "arm64" or translated else absent
    return {
        "uname": f"[ $1 = -s ] && echo Darwin || echo {processor}",
        "sysctl": f'[ "$*" = "-n sysctl.proc_translated" ] && {{ {known}; }}',
        "sw_vers": f'[ "$SYSTEM_VERSION_COMPAT" = 0 ] && echo {macos} || echo 10.16',
    }


LINUX = {"uname": "[ $1 = -s ] && echo Linux || echo x86_64"}


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
@pytest.mark.parametrize("machine", [LINUX, mac(), mac(macos="14.0"), mac(macos="26.1")])
def test_a_machine_and_a_python_that_suit_are_passed_in_silence(tmp_path, machine, minor):
    processor = "x86_64" if machine is LINUX else "arm64"
    result = ask(tmp_path, python(tmp_path, f"3 {minor} 1 {processor}"), **machine)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_python_that_runs_this_is_asked_in_earnest(tmp_path):
    assert ask(tmp_path, sys.executable, **LINUX).returncode == 0


def test_a_terminal_under_rosetta_does_not_matter_to_a_python_of_apple_silicons(tmp_path):
    result = ask(tmp_path, python(tmp_path, "3 13 1 arm64"), **mac("x86_64", translated=True))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("machine", "answer", "says"),
    [
        (mac("x86_64"), "3 12 1 x86_64", "needs a Mac with Apple silicon (M1 or later)"),
        (mac(macos="13.7.2"), "3 12 1 arm64", "needs macOS 14 or newer, and this is macOS 13.7.2"),
        (mac(), "3 9 6 arm64", "needs Python 3.11 to 3.14, and that of .venv is 3.9.6."),
        (mac(), "3 15 0 arm64", "needs Python 3.11 to 3.14, and that of .venv is 3.15.0."),
        (mac(), "2 7 18 arm64", "needs Python 3.11 to 3.14, and that of .venv is 2.7.18."),
        (mac(), "3 12 1 x86_64", "needs a Python for Apple silicon, and that of .venv is one for Intel, run by Rosetta."),
        (mac("x86_64", translated=True), "3 12 1 x86_64", "one for Intel, run by Rosetta."),
        (mac(), "", "cannot use .venv, whose Python does not start"),
        (LINUX, "3 10 2 x86_64", "needs Python 3.11 to 3.14, and that of .venv is 3.10.2."),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_named(tmp_path, machine, answer, says):
    result = ask(tmp_path, python(tmp_path, answer), **machine)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("\nmtbench ")
    assert says in result.stderr


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({}, "brew install python@3.13"),
        ({"python3__12": "echo 3 12 4 arm64"}, "    python3.12 -m venv .venv && "),
        ({"python3__13": "echo 3 13 4 x86_64"}, "brew install python@3.13"),  # an Intel Homebrew's
        ({"python3__13": "exit 1", "python3__14": "echo 3 14 0 arm64"}, "    python3.14 -m venv .venv && "),
    ],
)
def test_an_environment_of_the_wrong_python_is_removed_and_made_by_one_that_suits(tmp_path, there, says):
    result = ask(tmp_path, python(tmp_path, "3 9 6 arm64"), **mac(), **there)
    lines = result.stderr.splitlines()
    assert "    rm -rf .venv" in lines
    assert lines[-1].endswith(" -m venv .venv && .venv/bin/pip install -q rust-just && .venv/bin/just setup")
    assert says in result.stderr


def test_a_link_to_a_python_that_was_removed_is_named(tmp_path):
    (tmp_path / "python").symlink_to(tmp_path / "removed")
    assert "does not start" in ask(tmp_path, tmp_path / "python", **LINUX).stderr


def test_old_pythons_understand_the_question():
    (probe,) = re.findall(r"^probe='(.*)'$", SCRIPT.read_text(), re.MULTILINE)
    ast.parse(probe, feature_version=(3, 4))
    assert 'f"' not in probe
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).split() == [
        *map(str, sys.version_info[:3]),
        os.uname().machine,
    ]


def test_the_shell_of_a_mac_understands_the_script():
    """bash 3.2 as sh: nothing of later bash, nor of GNU's tools."""
    text = SCRIPT.read_text()
    assert not re.search(r"\[\[|<<<|\bdeclare |\blocal |\$\{\w+(,,|\^\^)|readlink -f|sort -V|mapfile", text)
    assert subprocess.run([SHELL, "-n", SCRIPT], check=False).returncode == 0
