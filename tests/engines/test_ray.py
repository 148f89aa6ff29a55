"""Shards on a Ray cluster, as far as no cluster is needed; tests/engines/on_a_cluster.py starts a real one."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mtbench.engines import ray, shards
from mtbench.engines.local import Outcome, write_plan
from mtbench.engines.ray import PLACELESS_LOOKS, TRIES, Cluster, Death, Node, Spot, kinds, shards_of, spots
from mtbench.engines.resume import Rest
from mtbench.engines.run import run, standings
from mtbench.engines.settings import EngineSettings
from mtbench.engines.shards import Dealt, State
from mtbench.errors import ConfigError
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Plan, Task, job, plan
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

SERVER = Node("a", 64, 4, "1111", "AMD EPYC", "1")
M2, OTHER_M2 = Node("b", 8, 0, "2222", "Apple M2", "1"), Node("c", 8, 0, "2222", "Apple M2", "1")
NODES = (SERVER, M2, OTHER_M2)


@pytest.fixture
def sweep() -> Plan:
    sizes = range(1, 6)
    return plan(
        [job(Task("softmax", (("embed_dim", 8),), "float32", Shape(1, size)), Arm("numpy"), 1e-5) for size in sizes],
        Protocol(),
    )


def test_a_task_takes_a_whole_machine_or_one_gpu_with_its_share_of_processors():
    assert spots(NODES, EngineSettings("ray")) == [Spot(node) for node in NODES]
    assert [spot.takes for spot in spots(NODES, EngineSettings("ray"))] == [(64, 4), (8, 0), (8, 0)]
    on_gpus = spots(NODES, EngineSettings("ray", gpus="all"))
    assert [(spot.node, spot.number) for spot in on_gpus] == [(SERVER, number) for number in range(4)]
    assert {spot.takes for spot in on_gpus} == {(16, 1)}


def test_there_is_a_shard_for_each_place_at_least(sweep):
    assert len(shards_of(sweep, sweep.jobs, EngineSettings("ray"), NODES)) == 3
    assert len(shards_of(sweep, sweep.jobs, EngineSettings("ray", shards=2), NODES)) == 2
    assert len(shards_of(sweep, sweep.jobs, EngineSettings("ray", shards=9), NODES)) == 5


def test_each_kind_of_machine_measures_the_whole_plan_into_a_folder_of_its_own(sweep):
    found = shards_of(sweep, sweep.jobs, EngineSettings("ray", each="machine"), NODES)
    assert [(shard.machine, shard.folder) for shard in found] == [
        ("1111", Path("AMD_EPYC-1111")),
        ("2222", Path("Apple_M2-2222")),
    ]
    assert [shard.of(sweep).jobs for shard in found] == [sweep.jobs, sweep.jobs]
    assert set(kinds(NODES)) == {"1111", "2222"}


@pytest.mark.parametrize(("nodes", "says"), [((), "no machine"), ((M2,), "no GPU")])
def test_a_cluster_without_a_place_is_said(sweep, nodes, says):
    with pytest.raises(ConfigError, match=says):
        shards_of(sweep, sweep.jobs, EngineSettings("ray", gpus="all"), nodes)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch, sweep, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'mtbench\[ray\]'"):
        run(Rest(sweep, sweep.protocol, sweep.jobs), tmp_path, EngineSettings("ray"), Progress())
    assert list(tmp_path.iterdir()) == []


class Pretended(Cluster):
    """A cluster that lists at each look what the test says, and on which a task does what the test says."""

    def __init__(self, looks: Iterator[Sequence[Node]], task: Callable[[Path, int], Death | None]) -> None:
        self.looks = looks
        self.task = task
        self.deaths: dict[int, Death | None] = {}

    def nodes(self) -> list[Node]:
        return list(next(self.looks))

    def collector(self, folder: Path) -> Any:
        return None

    def start(self, plan: Plan, folder: Path, dealt: Dealt, number: int, spot: Spot, collector: Any) -> Any:
        task = len(self.deaths)
        self.deaths[task] = self.task(folder, number)
        return task

    def ended(self, tasks: list[Any], seconds: float) -> list[Any]:
        return tasks

    def death(self, task: Any, spot: Spot) -> Death | None:
        return self.deaths[task]

    def cancel(self, tasks: list[Any], seconds: float) -> None:
        pass


def done(folder: Path, number: int) -> None:
    shards.write_state(folder, number, State("done"))


def begun(folder: Path, number: int) -> None:
    shards.write_state(folder, number, State("running", visits=1, of=9))


def measured(sweep: Plan, folder: Path, cluster: Cluster) -> tuple[Outcome, dict[int, str]]:
    """What came of a sweep in two shards, and what `mtbench status` says of each afterwards."""
    dealt = Dealt(EngineSettings("ray", shards=2), shards_of(sweep, sweep.jobs, EngineSettings("ray", shards=2), NODES))
    write_plan(sweep, folder)
    shards.write(dealt, folder)
    outcome = ray.run(sweep, folder, dealt, [0, 1], Progress(), cluster)
    return outcome, {one.shard: one.status for one in standings(folder)[1]}


def test_a_look_without_any_machine_loses_no_shard(sweep, tmp_path):
    looks = [(), (), [M2], (), [M2], [M2]]
    outcome, told = measured(sweep, tmp_path, Pretended(iter(looks), done))
    assert told == {0: "done", 1: "done"}
    assert outcome.unfinished == 0


def test_a_cluster_without_machines_for_long_fails_the_shards_that_wait(sweep, tmp_path):
    outcome, told = measured(sweep, tmp_path, Pretended(iter([(SERVER,), *[()] * PLACELESS_LOOKS]), done))
    assert told == {0: "done", 1: "failed"}
    assert outcome.unfinished == 1


def test_after_ctrl_c_no_shard_is_said_to_run_or_to_wait(sweep, tmp_path):
    def interrupted(folder: Path, number: int) -> Death | None:
        begun(folder, number)
        raise KeyboardInterrupt

    outcome, told = measured(sweep, tmp_path, Pretended(iter([[M2]]), interrupted))
    assert told == {0: "interrupted", 1: "interrupted"}
    assert outcome.interrupted


def test_a_shard_that_dies_too_often_or_ends_without_a_word_failed(sweep, tmp_path):
    def dies(folder: Path, number: int) -> Death | None:
        begun(folder, number)
        return Death("its process died", begun=True) if number else None

    outcome, told = measured(sweep, tmp_path, Pretended(iter([[M2]] * 2 * TRIES), dies))
    assert told == {0: "failed", 1: "failed"}
    state = shards.read_state(tmp_path, 1)
    assert state is not None
    assert state.reason == f"its process died, {TRIES} times"
    assert outcome.unfinished == 2
