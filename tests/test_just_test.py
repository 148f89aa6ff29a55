"""The recipe `just test`: options go to both parts, a path is run alone, and exit codes are the parts'."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def just_test(tmp_path):
    """just_test(*args, codes): the calls of pytest that the recipe makes, each with the next of `codes`, and its exit code."""
    recipe = re.search(r"^test \*args: setup\n((?:    .*\n|\n)+)", (ROOT / "justfile").read_text(), re.M)
    assert recipe is not None
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_stats.py").touch()
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nfor arg in "$@"; do printf "<%s>" "$arg"; done >>{tmp_path}/calls\necho >>{tmp_path}/calls\n'
        f"code=$(head -n 1 {tmp_path}/codes); sed -i.old 1d {tmp_path}/codes; exit ${{code:-0}}\n"
    )
    python.chmod(0o755)
    body = recipe.group(1).replace("{{ python }}", str(python))

    def run(*args: str, codes: str = ""):
        (tmp_path / "codes").write_text(codes.replace(" ", "\n"))
        (tmp_path / "calls").unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", "-c", body, "test", *args], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return (tmp_path / "calls").read_text().splitlines(), done.returncode

    return run


def test_without_arguments_both_parts_run(just_test):
    calls, code = just_test()
    assert calls == [
        "<-m><pytest><-n><auto><--maxprocesses><4><tests/operators>",
        "<-m><pytest><-n><auto><--maxprocesses><4><--dist><loadfile><--no-loadscope-reorder><--ignore><tests/operators>",
    ]
    assert code == 0


def test_options_go_to_both_parts(just_test):
    calls, _ = just_test("--device", "gpu", "-k", "linear or sum")
    assert len(calls) == 2
    assert all(call.endswith("<--device><gpu><-k><linear or sum>") for call in calls)


def test_a_path_is_run_alone(just_test):
    assert just_test("tests/test_stats.py", "-k", "holm")[0] == ["<-m><pytest><tests/test_stats.py><-k><holm>"]
    assert just_test("-x", "tests/test_stats.py::test_holm")[0] == ["<-m><pytest><-x><tests/test_stats.py::test_holm>"]


@pytest.mark.parametrize(
    ("codes", "calls", "code"),
    [("0 0", 2, 0), ("1 0", 1, 1), ("0 1", 2, 1), ("5 0", 2, 0), ("0 5", 2, 0), ("5 5", 2, 5)],
)
def test_the_exit_code_is_that_of_the_parts(just_test, codes, calls, code):
    assert (len(just_test("-k", "holm", codes=codes)[0]), just_test("-k", "holm", codes=codes)[1]) == (calls, code)
