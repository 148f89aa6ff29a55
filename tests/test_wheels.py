"""`.ci/wheels`, with an index of releases of its own; what the real one says is asked where constraints.txt changes."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / ".ci/wheels"


@pytest.fixture
def wheels(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_loader("wheels", SourceFileLoader("wheels", str(FILE)))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "wheels", module)  # where dataclasses look
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


PINS = """# The versions: all of them

# everywhere
one==1.0
two==2.0 ; sys_platform == "darwin"
two==1.9 ; sys_platform != "darwin"
three==3.0  # no wheel: it is small

# Linux without a GPU
four==4.0

# macOS
five==5.0 ; python_version < "3.14"
"""


def test_a_pin_is_asked_for_where_it_is_needed(wheels):
    found = wheels.pins(PINS)
    needed = {
        (pin.version, system.name)
        for pin in found
        for system in (wheels.LINUX, wheels.MACS[0])
        if pin.has_wheel and pin.is_for(system, "3.14")
    }
    assert needed == {("1", "Linux"), ("1", "macOS 14"), ("2", "macOS 14"), ("1.9", "Linux"), ("4", "Linux")}
    assert found[-1].is_for(wheels.MACS[0], "3.13")


def test_what_macos_14_takes_is_not_asked_again_and_what_only_later_ones_take_is_named(wheels, monkeypatch):
    pin = wheels.pins(PINS)[0]
    asked: list[str] = []

    def index(oldest: int):
        def installable(name, system, python):
            asked.append(system.name)
            fits = system is wheels.LINUX or (system in wheels.MACS and int(system.name.split()[1]) >= oldest)
            return {"1", "0.9"} if fits else {"0.9"}

        return installable

    monkeypatch.setattr(wheels, "installable", index(13))
    assert wheels.lacking(pin, "3.14") == []
    assert asked == ["any system", "Linux", "macOS 14"]
    monkeypatch.setattr(wheels, "installable", index(15))
    assert wheels.lacking(pin, "3.14") == ["macOS 14"]
    monkeypatch.setattr(wheels, "installable", index(99))
    assert wheels.lacking(pin, "3.14") == ["macOS 14", "macOS 15", "macOS 26"]


def test_a_wheel_of_python_alone_is_asked_for_once(wheels, monkeypatch):
    asked: list[str] = []

    def installable(name, system, python):
        asked.append(system.name)
        return {"1"} if python == "3.12" else {"0.9"}

    monkeypatch.setattr(wheels, "installable", installable)
    pin = wheels.pins(PINS)[0]
    assert wheels.lacking(pin, "3.12") == []
    assert asked == ["any system"]
    assert wheels.lacking(pin, "3.14") == ["Linux", "macOS 14", "macOS 15", "macOS 26"]


@pytest.mark.parametrize(
    ("stdout", "stderr", "versions"),
    [
        ("one (2.0)\nAvailable versions: 2.0, 1.0, 0.4.src\n  INSTALLED: 1.0\n", "", {"2", "1", "0.4.src"}),
        ("", "ERROR: No matching distribution found for one", set()),
    ],
)
def test_pips_words_are_understood(wheels, monkeypatch, stdout, stderr, versions):
    said = wheels.subprocess.CompletedProcess([], 0, stdout, stderr)
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: said)
    assert wheels.installable("one", wheels.LINUX, "3.11") == versions


def test_a_pip_that_cannot_ask_is_an_error_and_no_answer(wheels, monkeypatch):
    said = wheels.subprocess.CompletedProcess([], 1, "", "ERROR: no route to host")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(RuntimeError, match="no route to host"):
        wheels.installable("one", wheels.LINUX, "3.11")
