"""The short form of `just chaos`: some trials of each kind, always the same. The whole is in __main__.py."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("chaos", Path(__file__).with_name("__main__.py"))
assert spec is not None
assert spec.loader is not None
chaos = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chaos)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("kills", 2),
        ("disks", 2),
        ("operators", 2),
        ("messages", 500),
        ("settings", 15),
        ("command_lines", 40),
        ("records", 25),
    ],
)
def test_nothing_breaks_it(kind, count, folder):
    tally = chaos.break_it(kind, count, chaos.SEED, folder)
    assert tally.tried >= count
    assert tally.faults == []


def test_a_fault_is_counted_and_stands_in_the_table():
    tally = chaos.Tally("kills")
    tally.note("killed")
    tally.note_beside("stopped")
    tally.note("killed", "a torn record")
    assert chaos.table([tally], 3).splitlines()[2] == "| kills | 2 | killed 2 (beside: stopped 1) | 1 |"
