"""How CI gets llama.cpp: from a wheel that is kept, else one that is compiled in time, else not at all."""

import importlib.util
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a cache of its own and a pip that only notes what it is asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loader = SourceFileLoader("llama_cpp_script", str(ROOT / ".ci/llama_cpp"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    pip = tmp_path / "pip.py"
    pip.write_text(
        "import pathlib, sys, time\n"
        f"with open({str(tmp_path / 'asked')!r}, 'a') as asked: print(*sys.argv[1:], file=asked)\n"
        "if sys.argv[1] == 'wheel':\n"
        f"    if pathlib.Path({str(tmp_path / 'slow')!r}).exists(): time.sleep(60)\n"
        "    folder = pathlib.Path(sys.argv[sys.argv.index('--wheel-dir') + 1])\n"
        "    folder.mkdir()\n"
        "    (folder / 'made.whl').touch()\n"
    )
    module.PIP = [sys.executable, str(pip)]
    return module


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def test_a_wheel_is_made_once(script: Any, tmp_path: Path) -> None:
    script.main()
    script.main()
    made, *installed = asked(tmp_path)
    assert made.startswith("wheel --no-deps --no-binary llama-cpp-python llama-cpp-python==")
    assert "build.targets=llama" in made
    assert [line.split()[0] for line in installed] == ["install", "install"]
    assert all(line.endswith("made.whl") for line in installed)


def test_one_that_takes_too_long_is_given_up(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slow").touch()
    started = time.monotonic()
    script.main(0.5)
    assert time.monotonic() - started < 50  # its sleep is longer
    assert "its tests are skipped" in capsys.readouterr().out
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_ci_asks_for_it_and_just_test_does_not() -> None:
    assert ".venv/bin/python .ci/llama_cpp" in (ROOT / ".ci/run").read_text()
    assert "llama" not in (ROOT / "justfile").read_text()
