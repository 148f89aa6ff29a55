"""Runs a plan on this machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtbench import machine
from mtbench.bench.controller.job_state import Sweep
from mtbench.bench.controller.progress import Progress
from mtbench.bench.controller.sweep import Controller
from mtbench.machine.sleep import kept_awake
from mtbench.machine.watch import Watch
from mtbench.plan import jobs as plans
from mtbench.plan.jobs import Plan
from mtbench.results.record import Record

TIMING = "timing.json"
"""In the sweep's folder: where its time went, in seconds, by the request to a worker that was waited for."""


@dataclass(frozen=True)
class Outcome:
    """The last record of each job that has one, and whether the user interrupted."""

    records: Sequence[Record]
    interrupted: bool


def run(plan: Plan, folder: Path, progress: Progress | None = None) -> Outcome:
    """Measures a plan's jobs. Records go into the jobs' folders below `folder` as they come, the plan beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / plans.FILE_NAME).write_text(plan.to_json(), encoding="utf-8")
    description = machine.describe()
    cache_bytes = max(description.get("last_level_cache_bytes") or 0, plan.protocol.cold_cache_bytes)
    protocol = replace(plan.protocol, cold_cache_bytes=cache_bytes)
    sweep = Sweep(plan.id, protocol, machine.identity(description), description)
    progress = progress or Progress()
    with Watch() as watch, kept_awake() as sleepy:
        if sleepy is not None:
            progress.warn(sleepy)
        controller = Controller(plan, sweep, progress, watch)
        records, interrupted = controller.run(folder)
    (folder / TIMING).write_text(json.dumps(controller.workers.waiting_s, indent=1), encoding="utf-8")
    return Outcome(records, interrupted)
