"""Going on with a sweep, by a worker that is simulated: what is there stays, and what is added stands beside it as if it had
been measured at once."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mtbench.bench import wire
from mtbench.bench.controller.process import Died
from mtbench.bench.rates import Rates
from mtbench.engines import local, resume
from mtbench.errors import ConfigError
from mtbench.frameworks.base import Description
from mtbench.launch.earlier import informed
from mtbench.launch.going_on import left
from mtbench.machine.watch import Reading, Watch
from mtbench.plan.accuracy import Errors
from mtbench.plan.jobs import Job, Plan, plan
from mtbench.plan.progress import Progress
from mtbench.results import comparison, samples
from mtbench.results import record as records
from mtbench.results.inference import time_interval
from mtbench.results.prior import RATIO, of_row
from mtbench.results.record import Record

PLAIN = str(Path(__file__).parent / "user" / "framework" / "plain.py")


class World:
    """What the simulated workers share: how often each arm was started, what was asked of them, and what they are like."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()
        self.pids = count(1)
        self.timed: list[tuple[str, int, int]] = []  # arm, restart, rows of a block asked for: in the order asked
        self.version = "1.0"
        self.slower = {"plain": 10.0}
        self.noise = 0.02
        self.dies_at: tuple[str, int] | None = None  # an arm, and the restart in which its call kills it
        self.host = local.Host(start_process=partial(Simulated, self), watch=Watched)

    def run(self, plan: Plan, folder: Path, progress: Progress | None = None) -> local.Outcome:
        return local.run(plan, folder, progress, self.host)


class Simulated:
    """A worker whose times follow from its library, its restart, the cell and the round alone."""

    def __init__(self, world: World, **options: object) -> None:
        self.world, self.pid = world, next(world.pids)
        self.rounds: Counter[str] = Counter()

    def tell(self, request: wire.Start) -> None:
        self.library = request.framework
        self.restart = self.world.starts[self.library]
        self.world.starts[self.library] += 1

    def answer(self, request: wire.Start, timeout_s: float) -> object:
        return self.ask(request, timeout_s)

    def end(self) -> None: ...

    def ask(self, request: object, timeout_s: float) -> object:
        match request:
            case wire.Start():
                description = Description(self.library, self.world.version, "cpu", "cpu", "cpu", 1, None, "peak", {})
                return wire.Started(description, "3.11")
            case wire.TimeFloor():
                return wire.Floor(1.0)
            case wire.MeasurePeaks():
                return Rates()
            case wire.TimeCanary():
                return wire.CallTime(100.0)
            case wire.Prepare():
                self.cell = f"{request.params} {request.shape}"
                return wire.Prepared(7, 9, Errors(1e-9, 1e-9, 1e-9), 16.0, 128.0, 3, 2)
            case wire.TimeLatency():
                self.rounds[self.cell] += 1
                self.world.timed.append((self.library, self.restart, self.rounds[self.cell]))
                if self.world.dies_at == (self.library, self.restart):
                    raise Died("crashed", "the worker was ended by SIGKILL")
                return wire.LatencyBlock([round(self.ns("latency")) for _ in range(3)])
            case wire.TimeThroughput():
                return wire.ThroughputBlock([self.ns("throughput")])
            case wire.Finish():
                return wire.Finished(Errors(1e-9, 1e-9, 1e-9), "peak", 1000.0, 1 << 20)
        return wire.Done()

    def ns(self, of: str) -> float:
        rng = random.Random(f"{self.library} {self.restart} {self.cell} {self.rounds[self.cell]} {of}")
        usual = 1e5 * (self.world.slower.get(self.library, 1.0) if "how': 'well" in self.cell else 1.0)
        return (
            usual
            * (1 + 0.03 * random.Random(f"{self.library} {self.restart}").gauss())
            * (1 + self.world.noise * rng.gauss())
        )


class Watched(Watch):
    """A machine of which no two samples are alike, nor any to be warned of."""

    moments = count()

    def sample(self) -> Reading:
        return Reading(taken_at=f"moment {next(self.moments)}")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cells(misbehaving, brief) -> Plan:
    """Two cells of two arms, with three restarts of eight rounds."""
    arms = [{}, {"framework": "plain", "framework_file": PLAIN}]
    jobs = [misbehaving("well", seq_len=size, **arm) for size in (4, 8) for arm in arms]
    made = plan(jobs, replace(brief, restarts=3, looks=[8], target=1e-9, cell_budget_s=600.0))
    return Plan.from_json(made.to_json())  # so that its numbers are as those that were kept


def read(made: Plan, folder: Path) -> list[Record]:
    found = resume.read_records(made, folder)
    return [found[job.id] for job in made.jobs]


def go(
    world: World, folder: Path, *settings: str, retry: Sequence[str] = (), progress: Progress | None = None
) -> local.Outcome:
    return local.run_rest(left(folder, settings, retry, only_inconclusive=False), folder, progress, world.host)


def file_of(job: Job, folder: Path) -> Path:
    return folder / job.folder / records.FILE_NAME


def times(made: Plan, folder: Path) -> list[int]:
    return [file_of(job, folder).stat().st_mtime_ns for job in made.jobs]


def test_more_restarts_come_to_what_all_of_them_at_once_come_to(world, cells, tmp_path):
    world.run(replace(cells, protocol=replace(cells.protocol, restarts=3, cell_budget_s=600.0)), tmp_path / "in_two")
    before = read(cells, tmp_path / "in_two")
    outcome = go(world, tmp_path / "in_two", "protocol.restarts=6")
    order, world.timed, world.starts = world.timed, [], Counter()
    at_once = replace(cells, protocol=replace(cells.protocol, restarts=6, cell_budget_s=1200.0))
    world.run(at_once, tmp_path / "once")
    assert order == world.timed  # by which the order of arms in rounds goes on, too
    for added, once, old in zip(read(cells, tmp_path / "in_two"), read(cells, tmp_path / "once"), before, strict=True):
        apart = {name for name, value in vars(once).items() if getattr(added, name) != value}
        assert apart <= {"started_at", "finished_at", "conditions", "check_seed"}
        assert added.restarts == 6
        assert added.latency_samples_ns[:3] == old.latency_samples_ns
        assert added.latency_high_ns - added.latency_low_ns < old.latency_high_ns - old.latency_low_ns
        assert added.started_at == old.started_at
    assert resume.read_plan(tmp_path / "in_two").protocol.restarts == 6
    assert [record.job_id for record in outcome.records] == [job.id for job in cells.jobs]


def test_a_cell_that_lacks_an_arm_is_measured_whole_and_others_stay(world, cells, tmp_path):
    tmp_path = tmp_path / "run[1]"
    world.run(cells, tmp_path)
    before = times(cells, tmp_path)
    file_of(cells.jobs[3], tmp_path).unlink()
    world.timed.clear()
    outcome = go(world, tmp_path)
    after = times(cells, tmp_path)
    assert before[:2] == after[:2]
    assert before[2] != after[2]
    assert Counter(arm for arm, *_ in world.timed) == {"numpy": 3 * 8, "plain": 3 * 8}
    assert [record.status for record in outcome.records] == ["ok"] * 4
    assert str(resume.rest(cells, tmp_path)) == "all 4 jobs are done; nothing is left"


def test_an_interrupted_sweep_goes_on_with_the_restart_that_it_was_in(world, cells, tmp_path):
    class Interrupt(Progress):
        visits = 0

        def cell_started(self, cell, arms):
            self.visits += 1
            if self.visits == 4:  # the second cell of the second restart
                raise KeyboardInterrupt

    assert world.run(cells, tmp_path, Interrupt()).interrupted
    assert str(resume.rest(cells, tmp_path)) == (
        "0 of 4 jobs are done; 4 in 2 cells are left (2 cells have some restarts already)"
    )
    world.timed.clear()
    recorded: list[tuple[int, str]] = []

    class Noting(Progress):
        def restart_started(self, restart):
            self.restart = restart

        def job_recorded(self, record):
            recorded.append((self.restart, record.job_id))

    go(world, tmp_path, progress=Noting())
    assert {job for restart, job in recorded if restart == 1} == {job.id for job in cells.jobs[2:]}
    assert [record.restarts for record in read(cells, tmp_path)] == [3] * 4
    assert len(world.timed) == (2 * 1 + 2 * 2) * 8


def test_an_arm_that_is_a_restart_ahead_measures_it_again_with_the_others(world, cells, tmp_path):
    """As a kill between the two records of a visit leaves them."""
    world.run(replace(cells, protocol=replace(cells.protocol, restarts=2, cell_budget_s=400.0)), tmp_path)
    behind = file_of(cells.jobs[1], tmp_path).read_bytes()
    two = read(cells, tmp_path)
    go(world, tmp_path, "protocol.restarts=3")
    file_of(cells.jobs[1], tmp_path).write_bytes(behind)
    world.starts = Counter(numpy=100, plain=100)
    go(world, tmp_path)
    for new, old in zip(read(cells, tmp_path)[:2], two[:2], strict=True):
        assert new.restarts == 3
        assert new.latency_samples_ns[:2] == old.latency_samples_ns
    pairs = zip(*(json.loads(record.conditions) for record in read(cells, tmp_path)[:2]), strict=True)
    assert all(one["taken_at"] == other["taken_at"] for one, other in pairs)


def test_arms_of_two_runs_are_never_taken_for_interleaved(world, cells, tmp_path):
    """As a kill leaves a cell that was being measured whole again: one record is new, the other one still the old."""
    world.run(cells, tmp_path)
    old = file_of(cells.jobs[1], tmp_path).read_bytes()
    file_of(cells.jobs[0], tmp_path).unlink()
    go(world, tmp_path)
    file_of(cells.jobs[1], tmp_path).write_bytes(old)
    rest = resume.rest(replace(cells, protocol=replace(cells.protocol, restarts=4, cell_budget_s=800.0)), tmp_path)
    assert rest.begun.restarts == {cells.jobs[0].cell.id: 0, cells.jobs[2].cell.id: 3}


def test_what_failed_is_measured_again_where_it_is_asked_for(world, cells, tmp_path):
    world.dies_at = ("plain", 0)
    first = world.run(cells, tmp_path)
    assert [record.status for record in first.records] == ["ok", "crashed", "ok", "ok"]
    before = times(cells, tmp_path)
    world.dies_at = None
    assert str(resume.rest(cells, tmp_path)) == (
        "all 4 jobs are done (1 without a result, which --retry measures again); nothing is left"
    )
    assert resume.rest(cells, tmp_path, ["timeout"]).jobs == ()
    again = go(world, tmp_path, retry=["crashed"])
    assert [(record.status, record.restarts) for record in again.records] == [("ok", 3)] * 4
    assert times(cells, tmp_path)[2:] == before[2:]
    with pytest.raises(ConfigError, match=r"No status for --retry 'crash'\. Did you mean 'crashed'"):
        resume.rest(cells, tmp_path, ["crash"])


def test_an_arm_that_ended_early_stays_so_unless_it_is_asked_for(world, cells, tmp_path):
    world.dies_at = ("plain", 1)
    first = world.run(cells, tmp_path)
    assert [(record.status, record.restarts) for record in first.records] == [
        ("ok", 3),
        ("ok", 1),
        ("ok", 3),
        ("ok", 3),
    ]
    world.dies_at = None
    assert resume.rest(cells, tmp_path).jobs == ()
    more = resume.rest(replace(cells, protocol=resume.changed(cells, ["protocol.restarts=4"])), tmp_path)
    assert [job for job in cells.jobs if job not in more.jobs] == [cells.jobs[1]]
    assert resume.rest(cells, tmp_path, ["crashed"]).jobs == cells.jobs[:2]


def test_another_machine_is_refused(world, cells, tmp_path):
    one, *_ = world.run(cells, tmp_path).records
    records.write(replace(one, machine_id="another"), file_of(cells.jobs[0], tmp_path).parent)
    file_of(cells.jobs[3], tmp_path).unlink()
    with pytest.raises(ConfigError, match="were measured on another machine"):
        resume.rest(cells, tmp_path)


def test_another_version_of_a_library_is_refused_and_nothing_is_written(world, cells, tmp_path):
    world.run(cells, tmp_path)
    file_of(cells.jobs[3], tmp_path).unlink()
    before = times(replace(cells, jobs=cells.jobs[:3]), tmp_path)
    world.version = "2.0"
    with pytest.raises(
        ConfigError, match=r"The records of numpy are of version 1\.0 on cpu, but it is 2\.0 on cpu now"
    ):
        go(world, tmp_path)
    assert times(replace(cells, jobs=cells.jobs[:3]), tmp_path) == before


def test_the_same_plan_in_the_same_folder_goes_on_and_another_one_does_not(world, cells, tmp_path):
    world.run(cells, tmp_path)
    again = plan(cells.jobs, cells.protocol)
    assert again.id != cells.id
    rest = resume.continued(again, tmp_path)
    assert rest is not None
    assert (rest.plan.id, rest.jobs) == (cells.id, ())
    assert resume.continued(plan(cells.jobs[:2], cells.protocol), tmp_path) is None
    assert resume.continued(again, tmp_path / "elsewhere") is None
    with pytest.raises(ConfigError, match=r"with another protocol\.block_ms \(1\.0 there, 9\.0 here\)"):
        resume.continued(plan(cells.jobs, replace(cells.protocol, block_ms=9.0)), tmp_path)
    more = resume.continued(plan(cells.jobs, replace(cells.protocol, restarts=5)), tmp_path)
    assert more is not None
    assert (len(more.jobs), more.protocol.visit_budget_s) == (4, 200)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("protocol.block_ms=3", "cannot be changed"),
        ("restarts=3", "cannot be changed"),
        ("protocol.restarts=two", "is a number"),
        ("protocol.restarts=2", "less than the 3"),
        ("protocol.stop_after=-1", "must not be negative"),
    ],
)
def test_what_cannot_be_changed_on_the_way_is_refused(cells, setting, says):
    with pytest.raises(ConfigError, match=says):
        resume.changed(cells, [setting])


def test_only_cells_with_an_open_verdict_get_more_restarts(world, misbehaving, brief, tmp_path):
    arms = [{}, {"framework": "plain", "framework_file": PLAIN}]
    jobs = [misbehaving(how, **arm) for how in ("well", "prints") for arm in arms]  # the first cell is ten times apart
    made = plan(jobs, replace(brief, restarts=3, looks=[8], target=1e-9, cell_budget_s=600.0))
    world.run(made, tmp_path)
    before = times(made, tmp_path)
    rest = left(tmp_path, [], [], only_inconclusive=True)
    assert str(rest) == "2 of 4 jobs are done; 2 in 1 cell are left (1 cell has some restarts already)"
    local.run_rest(rest, tmp_path, host=world.host)
    assert [record.restarts for record in read(made, tmp_path)] == [3, 3, 6, 6]
    assert times(made, tmp_path)[:2] == before[:2]
    assert resume.rest(resume.read_plan(tmp_path), tmp_path).jobs == ()  # the plan's own restarts are there


def test_a_sweep_ends_in_time_and_keeps_what_it_has(world, cells, tmp_path):
    said = []

    class Noting(Progress):
        def warn(self, message):
            said.append(message)

    short = replace(cells, protocol=replace(cells.protocol, stop_after=1e-9))
    outcome = world.run(short, tmp_path, Noting())
    assert outcome.interrupted
    assert "the sweep ends here, after protocol.stop_after=1e-09 s" in said
    assert [record.status for record in outcome.records] == ["interrupted"] * 4
    assert [record.restarts for record in go(world, tmp_path, "protocol.stop_after=0").records] == [3] * 4


def test_what_could_not_be_written_is_counted(world, cells, tmp_path):
    for job in cells.jobs:
        (tmp_path / job.folder).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / job.folder).touch()  # a file where the record's folder has to be
    outcome = world.run(cells, tmp_path)
    assert outcome.unwritten == 4
    assert [(record.status, record.restarts) for record in outcome.records] == [("ok", 3)] * 4


def test_intervals_use_the_spread_of_an_earlier_sweep_which_one_that_goes_on_keeps(world, misbehaving, brief, tmp_path):
    arms = [{}, {"framework": "plain", "framework_file": PLAIN}]
    jobs = [misbehaving("well", seq_len=size, **arm) for size in range(1, 11) for arm in arms]
    first = plan(jobs, replace(brief, restarts=3, looks=[8], target=1e-9, cell_budget_s=600.0))
    world.run(first, tmp_path / "first")
    told: list[str] = []
    second = informed(Plan(first.jobs[:4], replace(first.protocol, restarts=2)), [str(tmp_path / "first")], told.append)
    assert [line.partition(":")[0] for line in told] == ["Intervals use the spread of 20 jobs of 1 earlier sweep (cpu)"]
    world.run(second, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")  # what was learnt is in the plan
    before = read(second, tmp_path / "second")
    go(world, tmp_path / "second", "protocol.restarts=3")
    after = read(second, tmp_path / "second")
    (known,) = second.earlier
    for one in [*before, *after]:
        prior = of_row(vars(one))
        assert prior is not None
        assert (prior.variance, prior.df) == (pytest.approx(known.time.variance), known.time.df)
        for metric in ("latency", "throughput"):
            found = samples.blocks(one, metric)
            blocks = [[found[restart, number] for number in range(8)] for restart in range(one.restarts)]
            bounds, alone = (time_interval(blocks, 0.95, prior=each) for each in (prior, None))
            shown = (getattr(one, f"{metric}_low_ns"), getattr(one, f"{metric}_high_ns"))
            assert shown == (bounds.low, bounds.high) != (alone.low, alone.high)
    for a, b in zip(after[::2], after[1::2], strict=True):
        found = comparison.between(a, b)
        blocks = [samples.blocks(each, "latency") for each in (a, b)]
        assert found == comparison.compare(*blocks, prior=of_row(vars(a), RATIO))
        alone = comparison.compare(*blocks)
        assert (found.p_value, found.ratio) == (alone.p_value, alone.ratio)
        assert (found.low, found.high) != (alone.low, alone.high)
        lone = replace(b, earlier_ratio_spread=None)  # as of another version of its library
        assert comparison.between(a, lone) == alone
