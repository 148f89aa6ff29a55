"""Sharing: what is packed holds nothing private and passes the check; the check refuses bad files, each for its reason."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml
from published_files import LLAMA_ROWS

from mtbench.errors import ConfigError
from mtbench.exchange import package, share
from mtbench.exchange.check import check
from mtbench.exchange.imports import import_files
from mtbench.exchange.package import Contents, Selftest
from mtbench.launch import commands
from mtbench.plain import to_json
from mtbench.results import files, record
from mtbench.results import selftest as outcome
from mtbench.results.private import Private
from mtbench.results.record import Record, write
from record_builder import MACHINE, Grid, measured, write_grid

NOW = datetime(2026, 3, 2, tzinfo=UTC)
HERE = Private("/home/ada", ("ada-desktop", "ada"))
PASSED = Selftest(True, "12 of 12 goals met.", "2026-03-01T10:00:00+00:00", "dedicated", "cpu")
FOLDER = "apple-m3-pro-5f0c1d2e3a"
NULLS = pl.lit([[None]], dtype=pl.List(pl.List(pl.Float64)))


def good(**values: object) -> Record:
    return measured("torch", random.Random(1), **values)


def self_test(folder: Path, passed: bool) -> None:
    row = outcome.Row("busy wait", "3 %", "2 %", outcome.MET if passed else outcome.MISSED)
    found = outcome.Outcome(
        (row,),
        "dedicated",
        "quiet",
        "cpu",
        "torch 2.13",
        False,
        300.0,
        "2026-03-01T10:00:00+00:00",
        "5f0c1d2e3a",
        MACHINE,
    )
    outcome.write(found, folder / outcome.FILE_NAME)


@pytest.fixture
def multirun(tmp_path: Path) -> Path:
    """A sweep with jobs that are left out: contended, failed, of a cluster."""
    folder = tmp_path / "multirun"
    write_grid(folder, Grid(("softmax",), ("torch", "mlx"), ("float32",), (1,), (64, 128)))
    write(good(seq_len=256, warnings=["contended: load 8.5 on 2 processors"]), folder / "contended")
    write(replace(good(seq_len=512), status="failed", reason="Traceback in /home/ada/x.py"), folder / "failed")
    write(good(seq_len=1024, engine_job="ada's job 17"), folder / "cluster")
    self_test(folder, passed=True)
    return folder


def test_what_is_packed_is_accepted_and_is_read_like_a_folder(multirun: Path, tmp_path: Path) -> None:
    (one,) = share.prepare([multirun], tmp_path / "measurements", HERE, NOW)
    share.write(one)
    assert one.path.parent == tmp_path / "measurements" / FOLDER
    assert files.SHARED_NAME.fullmatch(one.path.name)
    assert check(one.path, NOW) == []
    for source in (one.path, tmp_path / "measurements"):
        frame, problems = record.read(record.find([source]))
        assert problems == []
        assert sorted(frame["seq_len"]) == [64, 64, 128, 128, 1024]
    told = "\n".join(one.told)
    assert "left out: 1 job, contended" in told
    assert "left out: 1 job, its status is failed" in told
    assert "self-test: 1 of 1 goals met." in told
    assert one.path.stat().st_size < 100_000
    assert b"ada" not in one.path.read_bytes().replace(b"metadata", b"")
    again = share.prepare([multirun], tmp_path / "measurements", HERE, NOW)
    assert [each.path for each in again] == [one.path]


def test_what_names_its_owner_is_left_out_or_taken_away(tmp_path: Path) -> None:
    told = MACHINE | {"hostname": "ada-desktop", "gpus": [{"name": "Apple M3 Pro", "cores": 18, "uuid": "GPU-1"}]}
    write(good(machine=to_json(told)), tmp_path / "a")
    write(good(seq_len=128, warnings=["not steady on ada-desktop"]), tmp_path / "b")
    write(good(seq_len=256, asked_settings=to_json({"env": {"HF_TOKEN": "hf_abcdefghijklmnopqrst"}})), tmp_path / "c")
    (one,) = share.prepare([tmp_path], tmp_path / "out", HERE, NOW)
    share.write(one)
    frame, _ = record.read([one.path])
    assert frame["seq_len"].to_list() == [64]
    assert json.loads(frame["machine"][0]) == MACHINE
    assert "private: warnings holds the name of the user or the host" in "\n".join(one.told)
    assert "private: asked_settings holds a secret" in "\n".join(one.told)
    assert "hostname" not in "\n".join(one.told)


def test_a_failed_self_test_and_nothing_to_share_are_refused(multirun: Path, tmp_path: Path) -> None:
    self_test(multirun, passed=False)
    with pytest.raises(ConfigError, match="self-test of this machine failed"):
        share.prepare([multirun], tmp_path, HERE, NOW)
    with pytest.raises(ConfigError, match=r"Nothing under .* can be shared\. 1 job: contended"):
        share.prepare([multirun / "contended"], tmp_path, HERE, NOW)


def test_each_machine_gets_a_file(tmp_path: Path) -> None:
    for number, chip in enumerate(("Apple M4", "Apple M5")):
        write(good(machine=to_json(MACHINE | {"chip": chip}), machine_id=f"{number}" * 10), tmp_path / chip)
    found = share.prepare([tmp_path], tmp_path / "out", HERE, NOW)
    assert [one.path.parent.name for one in found] == [
        "apple-m4-apple-m3-pro-0000000000",
        "apple-m5-apple-m3-pro-1111111111",
    ]


# Bad files, as somebody could send them: packed past the rules of `prepare`, or spoilt afterwards.


def sent(
    folder: Path,
    records: Sequence[Record],
    selftest: Selftest | None = PASSED,
    place: str = FOLDER,
    change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> Path:
    """A file of these records that is packed as it should be, but for `change`, which comes before its fingerprint."""
    columns = record.schema()
    frame = change(pl.DataFrame({name: [getattr(one, name) for one in records] for name in columns}, schema=columns))
    said = Contents(records[0].machine_id, len(records), package.fingerprint(frame), selftest)
    path = folder / "measurements" / place / f"2026-03-01-{said.fingerprint}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(package.packed(frame, said))
    return path


def torn(folder: Path) -> Path:
    path = sent(folder, [good()])
    path.write_bytes(path.read_bytes()[:-200])
    return path


def by_another_program(folder: Path) -> Path:
    return write(good(), folder)


def edited(folder: Path) -> Path:
    path = sent(folder, [good(), good(seq_len=128)])
    said = package.contents(path)
    frame = pl.read_parquet(path).with_columns(library_version=pl.lit("9.9"))
    path.write_bytes(package.packed(frame, said))
    return path


def cut_to_one_row(folder: Path) -> Path:
    path = sent(folder, [good(), good(seq_len=128)])
    path.write_bytes(package.packed(pl.read_parquet(path).head(1), package.contents(path)))
    return path


def published(folder: Path) -> Path:
    (folder / "llama.json").write_text(json.dumps(LLAMA_ROWS))
    import_files([folder / "llama.json"], folder / "imported")
    records = record.of_rows(record.read(record.find([folder / "imported"]))[0])
    place = package.folder_name(json.loads(records[0].machine), records[0].machine_id)
    return sent(folder, records, place=place)


def without_a_checked_answer(folder: Path) -> Path:
    return sent(folder, [good(verify_error=None)])


def wrong_answer_called_ok(folder: Path) -> Path:
    return sent(folder, [good(verify_error=0.3)])


def contended(folder: Path) -> Path:
    return sent(folder, [good(), good(seq_len=128, warnings=["contended: load 8.5 on 2 processors"])])


def failed_self_test(folder: Path) -> Path:
    return sent(folder, [good()], replace(PASSED, passed=False, summary="11 of 12 goals met, 1 missed."))


def faster_than_its_roof(folder: Path) -> Path:
    return sent(folder, [replace(good(), peak_flops_per_s=1e12)])


def a_roof_that_no_machine_has(folder: Path) -> Path:
    return sent(folder, [replace(good(), peak_flops_per_s=1e20)])


def faster_than_its_samples(folder: Path) -> Path:
    one = good()
    assert one.latency_ns is not None
    return sent(folder, [replace(one, latency_ns=one.latency_ns / 2, latency_low_ns=one.latency_ns / 3)])


def without_samples(folder: Path) -> Path:
    return sent(folder, [replace(good(), latency_samples_ns=[])])


def null_for_a_sample(folder: Path) -> Path:
    return sent(folder, [good(seq_len=128)], change=lambda frame: frame.with_columns(throughput_samples_ns=NULLS))


def a_restart_without_a_block(folder: Path) -> Path:
    return sent(folder, [replace(good(), throughput_samples_ns=[[]])])


def gpus_that_are_text(folder: Path) -> Path:
    return sent(folder, [good(machine=to_json(MACHINE | {"gpus": "many"}))])


def a_self_test_that_tells_of_somebody(folder: Path) -> Path:
    return sent(folder, [good()], replace(PASSED, device="the card of ada@example.org"))


def no_time_at_all(folder: Path) -> Path:
    return sent(folder, [replace(good(), latency_ns=0.0, latency_low_ns=0.0)])


def from_the_future(folder: Path) -> Path:
    return sent(folder, [good(finished_at=datetime(2030, 1, 1, tzinfo=UTC))])


def without_a_start(folder: Path) -> Path:
    return sent(folder, [good(started_at=None)])


def with_a_host_name(folder: Path) -> Path:
    return sent(folder, [good()], change=lambda frame: frame.with_columns(hostname=pl.lit("ada-desktop")))


def with_a_path(folder: Path) -> Path:
    return sent(folder, [good(warnings=["cannot read /Users/ada/models/x"])])


def with_a_secret(folder: Path) -> Path:
    return sent(folder, [good(asked_settings=to_json({"env": {"KEY": "ghp_abcdefghijklmnopqrst"}}))])


def with_a_serial_number(folder: Path) -> Path:
    return sent(folder, [good(machine=to_json(MACHINE | {"serial": "C02"}))])


def with_a_cluster_job(folder: Path) -> Path:
    return sent(folder, [good(engine_job="17")])


def of_two_machines(folder: Path) -> Path:
    return sent(folder, [good(), good(seq_len=128, machine_id="another")])


def in_the_wrong_place(folder: Path) -> Path:
    return sent(folder, [good()], place="fastest-machine-ever")


def interrupted(folder: Path) -> Path:
    return sent(folder, [good(), replace(good(seq_len=128), status="crashed")])


BAD = {
    torn: "torn or no Parquet file",
    by_another_program: "not written by `mtbench share`",
    edited: "torn or edited",
    cut_to_one_row: "torn: it says 2 records and holds 1",
    published: "unverified: others published it",
    without_a_checked_answer: "unverified: its error is not known",
    wrong_answer_called_ok: "larger than its tolerance",
    contended: "contended: it did not have the machine to itself",
    failed_self_test: "the self-test of this machine failed: 11 of 12",
    faster_than_its_roof: "faster than its own roof",
    a_roof_that_no_machine_has: "implausible: a peak rate that no machine has",
    faster_than_its_samples: "implausible: its times do not follow from its samples",
    without_samples: "implausible: a speed without samples",
    null_for_a_sample: "implausible: its samples are no times",
    a_restart_without_a_block: "implausible: its samples are no times",
    gpus_that_are_text: "implausible: the GPUs of its machine are no list of facts",
    a_self_test_that_tells_of_somebody: "private: its self-test holds an e-mail address",
    no_time_at_all: "implausible: not a record (its latency is no time that was measured)",
    from_the_future: "implausible: its dates are missing, or in the future",
    without_a_start: "implausible: its dates are missing",
    with_a_host_name: "private: a column that records do not have, hostname",
    with_a_path: "private: warnings holds a path below a home",
    with_a_secret: "private: asked_settings holds a secret",
    with_a_serial_number: "private: a fact about the machine that is not shared, serial",
    with_a_cluster_job: "private: engine_job",
    of_two_machines: "of several machines",
    in_the_wrong_place: f"it belongs into measurements/{FOLDER}/",
    interrupted: "its status is crashed",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    reasons = check(make(tmp_path), NOW)
    assert len(reasons) == 1, reasons
    assert BAD[make] in reasons[0]


def test_a_good_file_is_not(tmp_path: Path) -> None:
    versions = {"blas": "scipy-openblas 0.3.31.188", "library_version": "0.3.31.1"}
    path = sent(tmp_path, [good(**versions), replace(good(seq_len=128), status="mismatch", latency_ns=None)])
    assert check(path, NOW) == []


@pytest.mark.parametrize("status", ["unsupported", "oom", "mismatch"])
def test_a_job_that_ended_before_its_first_round_has_no_start(tmp_path: Path, status: str) -> None:
    ended = replace(good(seq_len=128), status=status, latency_ns=None, started_at=None)
    assert check(sent(tmp_path / "a", [good(), ended]), NOW) == []
    (reason,) = check(sent(tmp_path / "b", [good(), replace(ended, finished_at=None)]), NOW)
    assert "its dates are missing" in reason


def test_a_file_of_an_older_mtbench_stays_what_it_was(tmp_path: Path) -> None:
    """A later version has more columns, of which an older file knows nothing."""
    assert check(sent(tmp_path, [good()], change=lambda frame: frame.drop("source", "engine", "gpu_id")), NOW) == []


def test_the_command_checks_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accepted = sent(tmp_path / "a", [good()])
    (tmp_path / "a" / "measurements" / "README.md").write_text("# Measurements\n")
    with pytest.raises(SystemExit) as ended:
        commands.app(["share", "--check", str(tmp_path / "a")], standalone_mode=False)
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{accepted}: accepted\n")
    (tmp_path / "a" / "measurements" / "virus.exe").write_bytes(b"MZ")
    with pytest.raises(SystemExit) as ended:
        commands.app(["share", "--check", str(tmp_path / "a"), str(tmp_path / "none.parquet")], standalone_mode=False)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "virus.exe: torn or no Parquet file" in said
    assert "none.parquet: there is no such file" in said


def test_the_command_shows_what_it_will_write_and_writes_nothing_unasked(
    multirun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.app(["share", str(multirun), "--out", str(tmp_path / "m")], standalone_mode=False)
    assert ended.value.code == 2
    assert not (tmp_path / "m").exists()
    shown = capsys.readouterr()
    assert f"{FOLDER}/2026-03-01-" in shown.out
    assert "Nothing was written" in shown.err
    commands.app(["share", str(multirun), "--out", str(tmp_path / "m"), "--yes"], standalone_mode=False)
    (written,) = (tmp_path / "m").rglob("*.parquet")
    assert f"Written to {written}" in capsys.readouterr().out
    assert asdict(package.contents(written))["selftest"]["passed"] is True


def test_the_measurements_of_this_repository_are_accepted() -> None:
    folder = Path(__file__).parents[2] / "measurements"
    assert [(path.name, reasons) for path, reasons in share.files([folder]) if reasons] == []


def test_pull_requests_are_checked_by_the_same_command() -> None:
    workflow = yaml.safe_load((Path(__file__).parents[2] / ".github/workflows/measurements.yml").read_text())
    assert workflow[True] == {"pull_request": {"paths": ["measurements/**"]}}  # YAML 1.1 reads `on` as true
    base, proposed, *_, check_step = workflow["jobs"]["check"]["steps"]
    assert base["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert check_step["run"].split()[1:] == [
        "-m",
        "mtbench",
        "share",
        "--check",
        f"{proposed['with']['path']}/measurements",
    ]
