"""Runs the shards of a sweep on SLURM, by submitit: an array of exclusive nodes, and no daemon beside what is measured.

A job that is preempted, or reaches its time limit, is queued again and goes on where it was, as `mtbench resume` would. A job
that is gone, and whose shard has not said how it ended, is lost; `mtbench resume` submits it again.
"""

import math
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtbench import interrupts
from mtbench.engines import following, shard, shards
from mtbench.engines.cut import even_shards, parts_of, weights
from mtbench.engines.following import Following
from mtbench.engines.local import Outcome
from mtbench.engines.settings import EngineSettings
from mtbench.engines.shards import FOLDER, Dealt, Shard
from mtbench.errors import ConfigError
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.progress import Progress

LOOKS_S = 5.0
"""Between two questions to SLURM's controller, which others ask too."""

SURE = 4
"""How many looks in a row must find a shard lost: a shared file system shows some seconds late what another node wrote."""

TIMEOUTS = 100
"""How often a job may reach its time limit. It goes on each time, so this limit ends only a job that makes no progress."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SUSPENDED", "CONFIGURING", "RESIZING", "STOPPED")
RUNNING = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT")
"""States of a job in `squeue`; in any other it will not run any more."""


def cut(plan: Plan, jobs: Sequence[Job], settings: EngineSettings) -> tuple[Shard, ...]:
    """These jobs in as many shards as were asked for, or in shards of about `shard_minutes` each."""
    _submitit()
    cells = replace(plan, jobs=tuple(jobs)).by_cell()
    weighed = weights(plan, cells)
    parts = settings.shards or parts_of(sum(weighed.values()), 60 * (settings.shard_minutes or 60), len(cells))
    return even_shards(cells, parts, weighed)


def queued(dealt: Dealt) -> Mapping[int, str | None]:
    """What SLURM says of each shard's job: waiting, running or gone; nothing where SLURM cannot be asked."""
    jobs = {job: int(number) for number, job in dealt.jobs.items()}
    if not jobs:
        return {}
    ids = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    try:
        said = subprocess.run(
            ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={ids}"],
            capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if said.returncode != 0 and "Invalid job id" not in said.stderr:
        return {}
    return states(said.stdout, jobs)


def states(listed: str, jobs: Mapping[str, int]) -> dict[int, str | None]:
    """The state of each shard's job (waiting, running or gone), from `squeue`'s lines of job and state."""
    found: dict[int, str | None] = dict.fromkeys(jobs.values(), "gone")
    for line in listed.splitlines():
        job, _, state = line.strip().partition("|")
        if job in jobs:
            found[jobs[job]] = "waiting" if state in WAITING else "running" if state in RUNNING else "gone"
    return found


def run(plan: Plan, folder: Path, dealt: Dealt, numbers: Sequence[int], progress: Progress) -> Outcome:
    """Submits these shards and waits for all, unless that was not asked for. Ctrl-C, `kill` or a closed terminal end the
    waiting alone."""
    if numbers:
        with interrupts.held():  # a job that nobody noted would be measured twice
            dealt = dealt.with_jobs(_submit(folder, dealt, numbers))
            shards.write(dealt, folder)
    if not dealt.settings.wait:
        progress.note(f"Submitted. {_left_alone(folder, dealt)}")
        return Outcome((), interrupted=False, detached=True)
    follow = Following(folder, plan, dealt, progress)
    lost = 0
    try:
        while True:
            found = follow.look(queued(dealt))
            ends = {one.status for one in found}
            lost = lost + 1 if "lost" in ends else 0
            if not ends & {"waiting", "running"} and (not lost or lost >= SURE):
                break
            time.sleep(LOOKS_S)
    except KeyboardInterrupt:
        progress.note(f"Interrupted; the jobs go on. {_left_alone(folder, dealt)}")
        return Outcome((), interrupted=True, detached=True)
    return following.outcome(folder, plan, dealt, found, progress)


class ShardJob:
    """What a node runs; submitit carries it there."""

    def __init__(self, folder: str, number: int) -> None:
        self.folder = folder
        self.number = number

    def __call__(self) -> str:
        """Measures what is left of the shard, and gives its last status. SLURM sends SIGTERM to a job that it is about to kill;
        submitit would ignore it, and half a minute of measuring would be lost without a word."""
        interrupts.install()
        return shard.run(Path(self.folder), self.number, str(_submitit().JobEnvironment().job_id))

    def checkpoint(self) -> Any:
        """Called before the job is queued again. The same job is submitted: its records say how far it was."""
        return _submitit().helpers.DelayedSubmission(self)


def _submit(folder: Path, dealt: Dealt, numbers: Sequence[int]) -> dict[int, str]:
    """Submits these shards as one array, and gives SLURM's id of each shard's job. Raises ConfigError."""
    submitit = _submitit()
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "engine=slurm: there is no sbatch here; start the sweep on a machine that submits jobs to SLURM."
        )
    settings = dealt.settings
    longest_s = max(dealt.shards[number].estimated_s for number in numbers)
    parameters = {
        "name": "mtbench",
        "timeout_min": settings.minutes or math.ceil(3 * longest_s / 60) + 15,
        "slurm_exclusive": True,
        "slurm_array_parallelism": settings.at_once or 256,
        **settings.options,
    }
    try:
        executor = submitit.AutoExecutor(
            folder.absolute() / FOLDER / "slurm", cluster="slurm", slurm_max_num_timeout=TIMEOUTS
        )
        executor.update_parameters(**parameters)
        made = executor.submit_array([ShardJob(str(folder.absolute()), number) for number in numbers])
    except (OSError, NameError, TypeError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"SLURM does not take these jobs: {lines[-1]}") from error
    return {number: str(job.job_id) for number, job in zip(numbers, made, strict=True)}


def _left_alone(folder: Path, dealt: Dealt) -> str:
    """What to do with jobs that nobody waits for."""
    jobs = " ".join(sorted({job.partition("_")[0] for job in dealt.jobs.values()}))
    return (
        f"`mtbench status {folder}` shows how far they are, `mtbench resume {folder}` waits for them and submits lost ones "
        f"again, `scancel {jobs}` ends them."
    )


def _submitit() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ConfigError("engine=slurm needs submitit; install it with: pip install 'mtbench[slurm]'") from error
    return submitit
