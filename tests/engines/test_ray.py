"""Shards on a Ray cluster, as far as no cluster is needed; tests/engines/on_a_cluster.py starts a real one."""

import sys
from pathlib import Path

import pytest

from mtbench.engines.ray import Node, Spot, kinds, shards_of, spots
from mtbench.engines.resume import Rest
from mtbench.engines.run import run
from mtbench.engines.settings import EngineSettings
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
