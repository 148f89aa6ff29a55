"""Whom a worker serves: what an operator of the user's own may have left in a process never reaches the next operator."""

from collections.abc import Callable

import pytest

from mtbench.bench import wire
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.controller.workers import Workers, prepare
from mtbench.frameworks.base import Description
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Errors
from mtbench.plan.jobs import Arm, Job, Task, job
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

GOOD = Errors(1e-9, 1e-9, 1e-9)


class Pretended:
    """A worker process that answers at once; `started` counts them."""

    started = 0
    finish: object = None

    def __init__(self, **options: object) -> None:
        type(self).started += 1
        self.ended = False

    def tell(self, request: object) -> None: ...

    def answer(self, request: object, timeout_s: float) -> object:
        return self.ask(request, timeout_s)

    def end(self) -> None:
        self.ended = True

    def ask(self, request: object, timeout_s: float) -> object:
        assert not self.ended
        match request:
            case wire.Start():
                return wire.Started(Description("numpy", "1", "cpu", "cpu", "cpu", 1, None, "peak", {}), "3.11")
            case wire.TimeFloor():
                return wire.Floor(1.0)
            case wire.Prepare():
                return wire.Prepared(7, 9, GOOD, 16.0, 128.0, 3, 2)
            case wire.Finish():
                return self.finish
        return wire.Done()


@pytest.fixture
def serve() -> Callable[..., int]:
    """serve(jobs, finish): how many processes these jobs of one arm took, one visit each, of which `finish` ends each."""

    def run(jobs: list[Job], finish: object) -> int:
        Pretended.started, Pretended.finish = 0, finish
        states = list(map(JobState, jobs))
        workers = Workers(states, Protocol(), Progress(), lambda state: None, Pretended)  # type: ignore[arg-type]
        workers.start([jobs[0].arm])
        for state in states:
            workers.start_missing([state])
            workers.ask(state, prepare(state, 0))
            workers.ask(state, wire.Finish(thorough=True, call_ns=1.0, roofs=None))  # type: ignore[arg-type]
            workers.ask_aside(state, wire.Release())
        workers.end()
        return Pretended.started

    return run


FINISHED = wire.Finished(GOOD, "peak", 1000.0, 1 << 20)
OURS = job(Task("softmax", (("dim", -1),), "float32", Shape(1, 8)), Arm("numpy"), 1e-5)


def test_a_worker_that_ran_a_users_operator_runs_no_other_one(misbehaving, serve):
    assert serve([OURS, misbehaving("well"), misbehaving("prints")], FINISHED) == 1
    assert serve([misbehaving("well"), OURS, OURS], FINISHED) == 2
    assert serve([misbehaving("well"), OURS, misbehaving("well"), OURS], FINISHED) == 3


def test_a_worker_that_may_still_be_computing_is_replaced(serve):
    refused = wire.Refused("mismatch", "the process went on computing")
    assert serve([OURS, OURS], refused) == 2
    assert serve([OURS, OURS], wire.Refused("failed", "ZeroDivisionError")) == 1
