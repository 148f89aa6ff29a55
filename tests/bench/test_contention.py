"""A machine that other work shares is named, by what it says or by blocks whose equal parts differ."""

from typing import Any

import pytest

from mtbench.bench.controller import conditions
from mtbench.bench.controller.conditions import contended, contention
from mtbench.bench.wire import ThroughputBlock
from mtbench.bench.worker import blocks
from mtbench.machine.watch import Reading, Watch
from mtbench.plan.protocol import Protocol


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(cpu_pressure=0.99), "tasks waited for a processor 99 % of the time"),
        (Reading(load=10.2), "load 10.2 on 2 processors"),
        (Reading(steal_fraction=0.3), "30 % of processor time went to other machines"),
        (Reading(cpu_pressure=0.3, load=3.0, steal_fraction=0.01), None),  # a worker with two threads, and ourselves
        (Reading(), None),
    ],
)
def test_what_the_machine_says_of_other_work(reading, said):
    assert contention(reading, processors=2) == said


def test_equal_parts_that_differ_in_most_blocks_are_contention():
    assert contended(Reading(), [1.1, 1.2, 4.0], 2) == []
    assert contended(Reading(), [1.1, 2.0, 4.0], 2) == ["contended: equal parts of queued blocks differ 2.0-fold"]
    assert contended(Reading(), [], 2) == []


class Shared:
    """A machine that takes a time slice away in the middle of some calls' turn."""

    def __init__(self, stolen: dict[int, int]) -> None:
        self.stolen, self.now_ns, self.calls = stolen, 0, 0

    def call(self) -> object:
        self.calls += 1
        self.now_ns += 100_000 + self.stolen.get(self.calls, 0)
        return object()

    def subject(self) -> blocks.Subject:
        return blocks.Subject(self.call, [[]], lambda out: None, lambda out: None, lambda: self.now_ns)


def test_a_stolen_slice_changes_neither_a_queued_block_nor_its_verdict():
    quiet, shared = Shared({}), Shared({50: 30_000_000})
    found = [ThroughputBlock(blocks.throughput_block(each.subject(), 200, Protocol())) for each in (quiet, shared)]
    assert [block.call_ns for block in found] == [100_000, 100_000]  # a mean of all says 250,000 of the second
    assert [block.disturbance for block in found] == [1.0, 8.5]
    assert [len(block.parts_ns) for block in found] == [blocks.PARTS] * 2


def test_few_calls_make_few_parts_and_none_is_lost():
    for calls in (1, 2, 4, 7, 23):
        machine = Shared({})
        assert len(blocks.throughput_block(machine.subject(), calls, Protocol())) == min(calls, blocks.PARTS)
        assert machine.calls == calls + 1  # after one that keeps warm


def test_a_visit_on_a_shared_machine_has_a_warning(misbehaving, brief, control, tmp_path):
    class Busy(Watch):
        def sample(self) -> Reading:
            return Reading(cpu_pressure=0.99)

    (record,), _ = control([misbehaving("well")], brief, watch=Busy()).run(tmp_path)
    assert record.status == "ok"
    assert any(warning.startswith("contended: tasks waited for a processor 99 %") for warning in record.warnings)


def test_the_processors_are_those_that_may_be_used(monkeypatch: Any) -> None:
    monkeypatch.setattr(conditions.os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert conditions.usable_processors() == 2
    monkeypatch.delattr(conditions.os, "sched_getaffinity")
    assert conditions.usable_processors() >= 1
