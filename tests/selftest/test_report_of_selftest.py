"""The report says how far its numbers can be trusted, where a self-test was made."""

import dataclasses
import sys
from pathlib import Path

import pytest

from mtbench.report import build
from mtbench.results import selftest as outcomes
from mtbench.results.record import Record, write
from mtbench.results.selftest import Outcome, Row


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A folder with one record."""
    identity = {"params": "{}", "sweep_id": "s", "cell_id": "c", "job_id": "j", "kv_len": None}
    record = Record(
        "softmax", "torch", "eager", "native", "torch", "cpu", "float32", "highest", 1, 64, status="ok", **identity
    )
    record.latency_ns = record.latency_low_ns = record.latency_high_ns = 100.0
    record.latency_samples_ns = [[[100]]]
    write(record, tmp_path / "in" / "job")
    return tmp_path / "in"


def outcome(**changes: object) -> Outcome:
    rows = (
        Row("busy-wait <b>", "± 0.5 %", "+0.1 %", "met", "20 blocks"),
        Row("twins", "≤ 1 %", "0 of 20", "not shown with n=20"),
        Row("loop", "± 2 %", "+9 %", "missed"),
        Row("smallest difference", "", "2 %", "reported"),
        Row("do_bench", "", "", "n/a", "no CUDA here"),
    )
    made = Outcome(
        rows, "shared", "busy", "cpu", "torch 2", True, 80.0, "2026-01-02T03:04:05+00:00", "id", {"chip": "C"}
    )
    return dataclasses.replace(made, **changes)


def test_the_index_shows_the_self_test_beside_the_records(measured):
    outcomes.write(outcome(), measured / "selftest.json")
    html = build([measured], measured.parent / "out").read_text()
    section = html[html.index("How far to trust these numbers") : html.index("Every job")]
    for part in ("C, torch 2", "1 of 3 goals met, 1 not shown either way, 1 missed.", "2026-01-02 03:04:05 UTC"):
        assert part in section
    assert "busy-wait &lt;b&gt;" in section
    assert 'status-ok">met<' in section
    assert 'status-failed">missed<' in section
    assert 'status-unsupported">not shown with n=20<' in section
    assert 'status-none">reported<' in section
    assert 'status-none">n/a<' in section


def test_the_index_says_how_to_make_one_where_there_is_none(measured):
    html = build([measured], measured.parent / "out").read_text()
    assert "python -m mtbench selftest" in html


def test_a_broken_file_is_named_and_costs_nothing_else(measured):
    (measured / "selftest.json").write_text("{")
    html = build([measured], measured.parent / "out").read_text()
    assert "No self-test was found" in html
    assert "selftest.json: left out" in html


def test_reading_an_outcome_imports_nothing_that_measures():
    import subprocess

    code = "import sys, mtbench.results.selftest; print([m for m in sys.modules if m.startswith('mtbench.bench')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
