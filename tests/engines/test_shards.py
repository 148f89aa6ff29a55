"""A sweep in parts: how each is doing, from what it says and what the engine says; and what goes on where."""

import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mtbench import machine
from mtbench.engines import following, resume, shards, slurm
from mtbench.engines.cut import seconds
from mtbench.engines.resume import Rest
from mtbench.engines.run import run
from mtbench.engines.settings import EngineSettings
from mtbench.engines.shards import Dealt, Shard, State
from mtbench.errors import ConfigError
from mtbench.operators.base import Shape
from mtbench.plain import from_plain, to_json, to_plain
from mtbench.plan.jobs import Arm, Plan, Task, job, plan
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records
from mtbench.results.record import Record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE = NOW - timedelta(seconds=300 + 61)
HERE = machine.identity(machine.describe())


@pytest.mark.parametrize(
    ("said", "updated_at", "queued", "standing"),
    [
        (None, NOW, None, "waiting"),
        (None, NOW, "waiting", "waiting"),
        (None, NOW, "running", "waiting"),  # it has not said anything yet
        (None, NOW, "gone", "lost"),
        ("running", NOW, "running", "running"),
        ("running", LATE, "running", "running"),  # a long compilation
        ("running", NOW, None, "running"),
        ("running", LATE, None, "lost"),
        ("running", NOW, "gone", "lost"),
        ("running", NOW, "waiting", "waiting"),  # preempted
        ("interrupted", NOW, "waiting", "waiting"),
        ("interrupted", NOW, "running", "running"),  # it starts again
        ("interrupted", NOW, "gone", "interrupted"),
        ("failed", NOW, "gone", "failed"),
        ("done", NOW, "running", "done"),
        ("done", NOW, "gone", "done"),
        ("done", LATE, None, "done"),
    ],
)
def test_how_a_shard_is_doing(said, updated_at, queued, standing):
    state = None if said is None else State(said, updated_at=updated_at)
    assert shards.standing(state, queued, 300.0, NOW) == standing


def test_what_slurm_says_of_jobs():
    listed = "17_0|RUNNING\n17_1|PENDING\n17_2|COMPLETED\n17_3|REQUEUE_HOLD\n9|COMPLETING\n18_0|RUNNING\n"
    jobs = {"17_0": 0, "17_1": 1, "17_2": 2, "17_3": 3, "9": 4, "17_7": 5}
    assert slurm.states(listed, jobs) == {
        0: "running", 1: "waiting", 2: "gone", 3: "waiting", 4: "running", 5: "gone",
    }  # fmt: skip


def test_without_submitit_one_line_says_how_to_install_it(monkeypatch, sweep, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'mtbench\[slurm\]'"):
        run(Rest(sweep, sweep.protocol, sweep.jobs), tmp_path, EngineSettings("slurm"), Progress())
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_whose_shards_run_on_slurm_is_not_cut_anew_for_another_engine(monkeypatch, sweep, tmp_path):
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho '17_0|RUNNING'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    cells = tuple(dict.fromkeys(one.cell.id for one in sweep.jobs))
    before = Dealt(EngineSettings("slurm"), (Shard(0, cells),)).with_jobs({0: "17_0"})
    shards.write(before, tmp_path)
    with pytest.raises(ConfigError, match="shards 0 are still waiting or running"):
        run(Rest(sweep, sweep.protocol, sweep.jobs), tmp_path, EngineSettings("local"), Progress())
    assert shards.read(tmp_path) == before


def test_how_a_sweep_was_cut_goes_to_json_and_back(tmp_path):
    one = Shard(0, ("a", "b"), 12.5, Path("M2-1234"), "GPU-1", (0, 2), 2, 4, "1234")
    dealt = Dealt(EngineSettings("slurm", options={"slurm_partition": "gpu"}), (one,), ("failed",), ("a",), Protocol())
    dealt = dealt.with_jobs({0: "17_0"})
    shards.write(dealt, tmp_path)
    assert shards.read(tmp_path) == dealt
    assert shards.read(tmp_path / "nowhere") is None
    (tmp_path / shards.FILE).write_text("[1, 2]")
    with pytest.raises(ConfigError, match="cannot be read"):
        shards.read(tmp_path)
    state = State("running", "17_0", "Apple M2", "1234", None, 3, 12, {"ok": 2}, ("hot",), None, NOW)
    assert from_plain(State, json.loads(json.dumps(to_plain(state)))) == state


@pytest.fixture
def sweep() -> Plan:
    """Three cells of two arms, with two restarts."""
    jobs = [
        job(Task("softmax", (("embed_dim", 8),), "float32", Shape(1, size)), Arm(name), 1e-5)
        for size in (1, 2, 3)
        for name in ("numpy", "torch")
    ]
    made = plan(jobs, Protocol(restarts=2))
    return Plan.from_json(made.to_json())


def measured(sweep: Plan, number: int, restarts: int = 2, **facts: str) -> Record:
    one = sweep.jobs[number]
    samples = {"latency_samples_ns": [[[10, 10]]] * restarts, "throughput_samples_ns": [[10.0]] * restarts}
    return Record(
        operator="softmax", framework=one.arm.framework, mode="eager", variant="native", arm=one.arm.name, device="cpu",
        dtype="float32", matmul_precision="highest", batch_size=1, seq_len=one.task.shape.seq_len, kv_len=None,
        params=to_json(dict(one.task.params)), sweep_id=sweep.id, cell_id=one.cell.id, job_id=one.id, status="ok",
        latency_ns=10.0, latency_low_ns=9.0, latency_high_ns=11.0, throughput_ns=10.0, confidence=0.95, restarts=restarts,
        rounds=restarts, conditions=to_json([{}] * restarts), library_version="1", device_kind="cpu",
        **{"machine_id": HERE, **facts}, **samples,
    )  # fmt: skip


def keep(sweep: Plan, folder: Path, *found: Record) -> None:
    by_id = {one.id: one.folder for one in sweep.jobs}
    for one in found:
        records.write(one, folder / by_id[one.job_id])


def begun(rest: Rest) -> dict[int, int]:
    """The restarts that are kept, by the length of the cell's sequences."""
    lengths = {one.cell.id: one.task.shape.seq_len for one in rest.jobs}
    return {lengths[cell]: restarts for cell, restarts in rest.begun.restarts.items()}


def test_a_cell_that_was_begun_on_another_machine_starts_anew_and_a_whole_one_stays(sweep, tmp_path):
    there = {"machine_id": "elsewhere"}
    keep(sweep, tmp_path, *(measured(sweep, number, 2, **there) for number in (0, 1)))
    keep(sweep, tmp_path, *(measured(sweep, number, 1, **there) for number in (2, 3)))
    keep(sweep, tmp_path, *(measured(sweep, number, 1) for number in (4, 5)))
    with pytest.raises(ConfigError, match="on another machine"):
        resume.rest(sweep, tmp_path)
    assert begun(resume.rest(sweep, tmp_path, elsewhere="count")) == {2: 1, 3: 1}
    rest = resume.rest(sweep, tmp_path, elsewhere="anew")
    assert begun(rest) == {2: 0, 3: 1}
    assert {record.seq_len for record in rest.begun.kept} == {1}


def test_a_cell_that_was_begun_on_another_card_starts_anew(sweep, tmp_path):
    keep(sweep, tmp_path, *(measured(sweep, number, 1, gpu_id="aaaaaa") for number in (0, 1)))
    keep(sweep, tmp_path, *(measured(sweep, number, 1, gpu_id="bbbbbb") for number in (2, 3)))
    assert begun(resume.rest(sweep, tmp_path, elsewhere="anew", gpu_id="aaaaaa")) == {1: 1, 2: 0, 3: 0}


class Told(Progress):
    def __init__(self) -> None:
        self.finished: list[set[str]] = []
        self.lines: list[str] = []

    def note(self, message):
        self.lines.append(message)

    def warn(self, message):
        self.lines.append(f"warning: {message}")

    def sweep_finished(self, found, interrupted):
        self.finished.append({record.machine_id for record in found})


def test_what_a_shard_warns_of_is_told_once(sweep, tmp_path):
    dealt = Dealt(EngineSettings("local", shards=1), (Shard(0, ()),))
    told = Told()
    follow = following.Following(tmp_path, sweep, dealt, told)
    shards.write_state(tmp_path, 0, State(warnings=("the disk is full",)))
    follow.look({})
    follow.look({})
    assert told.lines == ["warning: shard 0: the disk is full"]


def test_one_plan_on_two_kinds_of_machines_is_never_held_against_each_other(sweep, tmp_path):
    cells = tuple(cell[0].cell.id for cell in sweep.by_cell())
    kinds = ("one", "two")
    dealt = Dealt(EngineSettings("ray", each="machine"), tuple(
        Shard(number, cells, folder=Path(kind), machine=kind) for number, kind in enumerate(kinds)
    ))  # fmt: skip
    for kind in kinds:
        keep(sweep, tmp_path / kind, *(measured(sweep, number, machine_id=kind) for number in range(6)))
        shards.write_state(tmp_path, kinds.index(kind), State("done"))
    told = Told()
    found = following.standings(tmp_path, sweep, dealt, {})
    outcome = following.outcome(tmp_path, sweep, dealt, found, told)
    assert told.finished == [{"one"}, {"two"}]
    assert len(outcome.records) == 12
    assert outcome.unfinished == 0


def test_shards_on_slurm_take_about_as_long_as_asked_for(sweep):
    pytest.importorskip("submitit")
    total_s = sum(seconds(cell, sweep.protocol) for cell in sweep.by_cell())
    settings = EngineSettings("slurm", shard_minutes=total_s / 60 / 2)
    found = slurm.cut(sweep, sweep.jobs, settings)
    assert [shard.number for shard in found] == [0, 1]
    assert sorted(cell for shard in found for cell in shard.cells) == sorted({one.cell.id for one in sweep.jobs})
    assert sum(shard.estimated_s for shard in found) == pytest.approx(total_s)
    assert len(slurm.cut(sweep, sweep.jobs[:2], replace(settings, shards=9))) == 1
