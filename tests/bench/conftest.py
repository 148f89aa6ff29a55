"""Jobs and protocols for measuring in earnest, but briefly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtbench.bench.controller.job_state import Sweep
from mtbench.bench.controller.sweep import Controller
from mtbench.engines import local
from mtbench.machine.watch import Watch
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Task, plan
from mtbench.plan.jobs import job as make_job
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

USER = Path(__file__).parent / "user"

MakeJob = Callable[..., Job]


@pytest.fixture
def brief() -> Protocol:
    return Protocol(restarts=1, looks=[3], cell_budget_s=5, block_ms=1, warmup_s=0.01, warmup_cap_s=0.5, timeout_s=60)


@pytest.fixture
def misbehaving() -> MakeJob:
    """misbehaving(how, seq_len=8, dtype="float32", **arm): a job of the operator that misbehaves as told."""

    def make(how: str, seq_len: int = 8, dtype: str = "float32", **arm: str) -> Job:
        file = str(USER / "operator" / "misbehaving.py")
        task = Task("misbehaving", (("how", how),), dtype, Shape(2, seq_len), file)
        return make_job(task, replace(Arm("numpy"), **arm), 1e-5)

    return make


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., local.Outcome]:
    """measure(jobs, protocol, progress, host): runs them as a sweep into the test's own folder."""

    def run(
        jobs: Sequence[Job],
        protocol: Protocol,
        progress: Progress | None = None,
        host: local.Host = local.THIS_MACHINE,
    ) -> local.Outcome:
        return local.run(plan(jobs, protocol), tmp_path, progress, host)

    return run


@pytest.fixture
def control(tmp_path: Path) -> Callable[..., Controller]:
    """control(jobs, protocol, progress, **parts): a controller, some of whose parts are the test's own."""

    def make(jobs: Sequence[Job], protocol: Protocol, progress: Progress | None = None, **parts: Any) -> Controller:
        sweep = Sweep("s", protocol, "machine", {})
        watch = parts.pop("watch", None) or Watch()
        return Controller(plan(jobs, protocol), sweep, progress or Progress(), watch, **parts)

    return make
