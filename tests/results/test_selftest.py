"""What a self-test leaves behind: its file, its exit code, its table, and its place in the report."""

import json
import math
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mtbench.errors import ConfigError
from mtbench.launch import commands as cli
from mtbench.machine.finding import Finding
from mtbench.results import selftest as outcomes
from mtbench.results.selftest import Outcome, Row
from mtbench.selftest import run, surroundings
from mtbench.selftest.goals import DEDICATED, SHARED
from mtbench.selftest.surroundings import judge
from mtbench.selftest.table import table


def outcome(*verdicts, **changes):
    rows = tuple(Row(f"row {number}", "≤ 1 %", "0.5 %", verdict, "by hand") for number, verdict in enumerate(verdicts))
    made = Outcome(
        rows=rows,
        kind=SHARED,
        why="it is busy",
        device="cpu",
        library="torch 2",
        quick=True,
        seconds=80.0,
        created="2026-01-01T00:00:00+00:00",
        machine_id="0123456789",
        machine={"chip": "Fast [chip]"},
    )
    return replace(made, **changes)


def test_a_file_holds_the_outcome_whole(tmp_path):
    one = outcome("met", "not shown with n=20")
    outcomes.write(one, tmp_path / "new" / "selftest.json")
    assert outcomes.read(tmp_path / "new" / "selftest.json") == one
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["selftest.json"]


def test_a_file_is_json_even_where_nothing_can_be_seen(tmp_path):
    row = Row("smallest", "", "", "reported", numbers={"largest": math.inf, "all": [1.0, -math.inf]})
    outcomes.write(outcome(rows=(row,)), tmp_path / "selftest.json")
    assert "Infinity" not in (tmp_path / "selftest.json").read_text()
    assert outcomes.read(tmp_path / "selftest.json").rows[0].numbers == {"largest": None, "all": [1.0, None]}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"schema_version": 1}', '{"schema_version": 1, "rows": [{}]}']
)
def test_a_file_that_holds_no_outcome_is_refused(tmp_path, text):
    (tmp_path / "selftest.json").write_text(text)
    with pytest.raises(ValueError, match=r"self-test|Expecting"):
        outcomes.read(tmp_path / "selftest.json")


def test_an_outcome_of_another_version_is_refused(tmp_path):
    file = tmp_path / "selftest.json"
    outcomes.write(outcome("met"), file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(ValueError, match="another version"):
        outcomes.read(file)


def test_the_last_outcome_of_each_machine_and_device_is_found(tmp_path):
    made = {
        "a": outcome("met", created="2026-01-01T00:00:00+00:00"),
        "b": outcome("missed", created="2026-01-03T00:00:00+00:00"),
        "c": outcome("met", created="2026-01-02T00:00:00+00:00", device="GPU"),
    }
    for name, one in made.items():
        outcomes.write(one, tmp_path / name / "selftest.json")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "selftest.json").write_text("{")
    found, problems = outcomes.newest([tmp_path, tmp_path / "a"])
    assert found == [made["b"], made["c"]]
    assert len(problems) == 1
    assert "d/selftest.json" in problems[0]


@pytest.mark.parametrize(
    ("verdicts", "passed", "summary"),
    [
        (["met", "reported", "n/a"], True, "1 of 1 goals met."),
        (["met", "not shown with n=20"], True, "1 of 2 goals met, 1 not shown either way."),
        (["met", "missed", "not shown with n=3"], False, "1 of 3 goals met, 1 not shown either way, 1 missed."),
    ],
)
def test_a_missed_goal_fails_the_test_and_one_that_was_not_shown_does_not(verdicts, passed, summary):
    assert outcome(*verdicts).passed is passed
    assert outcome(*verdicts).summary == summary


def test_the_table_shows_every_row_and_what_it_was_measured_on():
    console = Console(width=120, record=True, file=None)
    with console.capture() as captured:
        console.print(table(outcome("met", "missed", "not shown with n=20")))
    text = captured.get()
    for part in ("Fast [chip], torch 2", "80 s", "--quick", "shared machine: it is busy", "row 2", "by hand"):
        assert part in text
    assert text.count("≤ 1 %") == 3


@pytest.mark.parametrize(("verdict", "code"), [("met", 0), ("not shown with n=20", 0), ("n/a", 0), ("missed", 1)])
def test_the_exit_code_says_whether_a_goal_was_missed(monkeypatch, tmp_path, verdict, code):
    asked = []

    def measured(device, quick, say, only, keep):
        asked.append((device, quick, only))
        keep(outcome("met"))
        say("busy-wait: fine")
        keep(outcome("met", verdict))
        return outcome("met", verdict)

    monkeypatch.setattr(run, "run", measured)
    file = tmp_path / "selftest.json"
    result = CliRunner().invoke(
        cli.app, ["selftest", "--quick", "--device", "cpu", "--only", "busy_wait, twice", "--out", str(file)]
    )
    assert result.exit_code == code, result.output
    assert asked == [("cpu", True, ["busy_wait", "twice"])]
    assert "busy-wait: fine" in result.output
    assert outcomes.read(file) == outcome("met", verdict)


@pytest.mark.parametrize("error", [ConfigError("torch sees no GPU here"), KeyboardInterrupt()])
def test_nothing_is_written_where_nothing_was_measured(monkeypatch, tmp_path, error):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(run, "run", failing)
    result = CliRunner().invoke(cli.app, ["selftest", "--out", str(tmp_path / "selftest.json")])
    assert result.exit_code == (2 if isinstance(error, ConfigError) else 130)
    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_before_an_interruption_is_kept(monkeypatch, tmp_path):
    some = replace(outcome("met"), left_out=("twins",))

    def interrupted(*_, keep, **__):
        keep(some)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    file = tmp_path / "selftest.json"
    outcomes.write(outcome("met", "missed"), file)
    result = CliRunner().invoke(cli.app, ["selftest", "--out", str(file)])
    assert result.exit_code == 130
    assert "selftest-unfinished.json" in result.output
    assert outcomes.read(tmp_path / "selftest-unfinished.json") == some
    assert outcomes.read(file) == outcome("met", "missed")  # the whole one from before is not lost


def test_the_help_names_the_parts_that_there_are():
    shown = CliRunner().invoke(cli.app, ["selftest", "--help"], env={"COLUMNS": "200"}).output
    assert f"commas: {', '.join(run.PARTS)}." in " ".join(shown.split())


def test_an_unknown_device_or_part_is_a_mistake():
    with pytest.raises(ConfigError, match=r"Did you mean 'gpu'"):
        run.run("gpus")
    with pytest.raises(ConfigError, match=r"Did you mean 'twins'"):
        run.run("cpu", only=["twin"])


@pytest.mark.parametrize(
    ("findings", "virtualised", "on_gpu", "kind", "why"),
    [
        ([Finding("ok", "Load: 0.1 on 8 cores.")], False, False, DEDICATED, "no virtual machine"),
        ([Finding("note", "This is a virtual machine.")], True, False, SHARED, "virtual machine"),
        ([Finding("note", "This is a virtual machine.")], True, True, DEDICATED, "on the GPU"),
        ([Finding("warning", "The load is 7 on 8 cores.")], False, True, SHARED, "The load is 7 on 8 cores"),
    ],
)
def test_which_goals_apply_follows_from_what_the_doctor_finds(findings, virtualised, on_gpu, kind, why):
    found = judge(findings, virtualised, on_gpu)
    assert found.kind == kind
    assert why in found.why


def test_this_machine_is_of_one_kind():
    found = surroundings.look(on_gpu=False, seconds=0.01)
    assert found.kind in (DEDICATED, SHARED)
    assert found.why
