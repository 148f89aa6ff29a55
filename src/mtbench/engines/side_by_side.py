"""Runs the shards of a sweep on this machine, one for each GPU or group of processors, side by side or one after the other.

GPUs of one host share its power, its processors and its PCI lanes, so the records say how many shards ran beside each other.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mtbench.bench.controller.process import PACKAGE
from mtbench.engines import following
from mtbench.engines.cut import even_shards, weights
from mtbench.engines.following import Following
from mtbench.engines.local import Outcome
from mtbench.engines.settings import EngineSettings
from mtbench.engines.shards import FOLDER, Dealt, Shard
from mtbench.errors import ConfigError
from mtbench.machine import nvidia, processors
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.progress import Progress
from mtbench.results.format import plural

LOOKS_S = 2.0
"""Between two looks at the shards. Each look needs a processor for a millisecond."""

PATIENCE_S = 15.0
"""How long shards that were told to end have before they are killed: they wait for a worker in a call, and write records."""


def cut(plan: Plan, jobs: Sequence[Job], settings: EngineSettings) -> tuple[Shard, ...]:
    """These jobs in a shard for each GPU, or in as many as were asked for. Raises ConfigError."""
    cells = replace(plan, jobs=tuple(jobs)).by_cell()
    places = gpus(settings)
    parts = even_shards(cells, len(places), weights(plan, cells))
    own = own_processors(len(parts), plan) if len(parts) > 1 else [()]
    together = settings.together
    return tuple(
        replace(
            part,
            gpu=places[part.number],
            processors=own[part.number],
            beside=len(parts) if together else 1,
            machine_processors=sum(map(len, own)) if together and len(parts) > 1 else None,
        )
        for part in parts
    )


def queued(dealt: Dealt) -> Mapping[int, str | None]:
    """Nothing. The process that started shards here waits for them and knows their state; any other reads what the shards
    say."""
    return {}


def gpus(settings: EngineSettings) -> list[str | None]:
    """The CUDA_VISIBLE_DEVICES of each shard; None for a shard without a GPU of its own. Raises ConfigError."""
    if settings.gpus is None:
        return [None] * (settings.shards or 1)
    visible = nvidia.visible()
    if not visible:
        raise ConfigError(f"engine.gpus={settings.gpus}: there is no NVIDIA GPU here.")
    if settings.gpus == "all":
        return list(visible)
    for number in settings.gpus:
        if number >= len(visible):
            raise ConfigError(
                f"engine.gpus={settings.gpus}: there is no GPU {number} here, but {len(visible)} "
                f"{plural(len(visible), 'GPU')}, counted from 0."
            )
    return [visible[number] for number in settings.gpus]


def own_processors(parts: int, plan: Plan) -> list[tuple[int, ...]]:
    """The processors of each shard, which no other shard uses. Raises ConfigError where there are too few."""
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("Shards side by side need Linux: other systems do not let a program choose its processors.")
    if plan.protocol.cpus:
        raise ConfigError(
            "protocol.cpus cannot be combined with shards side by side: each shard has its own processors."
        )
    cores = processors.cores(processors.usable())
    if len(cores) < parts:
        raise ConfigError(f"{parts} shards side by side need as many cores, but only {len(cores)} can be used here.")
    return processors.dealt(cores, parts)


def run(plan: Plan, folder: Path, dealt: Dealt, numbers: Sequence[int], progress: Progress) -> Outcome:
    """Measures these shards, and gives the records of all. Ctrl-C ends them; what was measured is kept."""
    together = dealt.settings.together
    follow = Following(folder, plan, dealt, progress)
    running: dict[int, subprocess.Popen[bytes]] = {}
    waiting = list(numbers)
    try:
        while waiting or any(process.poll() is None for process in running.values()):
            while waiting and (together or all(process.poll() is not None for process in running.values())):
                running[waiting[0]] = _start(folder, waiting[0])
                waiting.pop(0)
            follow.look(_queued(running, waiting))
            _wait_for_one(running, LOOKS_S)
    except KeyboardInterrupt:
        end(list(running.values()))
    finally:
        end(list(running.values()), patience_s=0.0)
    found = follow.look(_queued(running, ()) | dict.fromkeys(waiting, "waiting"))
    return following.outcome(folder, plan, dealt, found, progress)


def _wait_for_one(running: dict[int, subprocess.Popen[bytes]], seconds: float) -> None:
    """Waits for the first running shard to end, for at most `seconds`."""
    first = next((process for process in running.values() if process.poll() is None), None)
    if first is not None:
        with suppress(subprocess.TimeoutExpired):
            first.wait(seconds)


def _queued(running: dict[int, subprocess.Popen[bytes]], waiting: Sequence[int]) -> dict[int, str | None]:
    alive: dict[int, str | None] = {
        number: "running" if process.poll() is None else "gone" for number, process in running.items()
    }
    return alive | dict.fromkeys(waiting, "waiting")


def _start(folder: Path, number: int) -> "subprocess.Popen[bytes]":
    """Starts a shard in a session of its own, so that Ctrl-C in the terminal reaches it only once, through us."""
    log = folder / FOLDER / f"{number}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "mtbench.engines.shard", str(folder.absolute()), str(number)],
            stdin=subprocess.PIPE,  # closes when we end, whatever ends us
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )


def end(processes: Sequence["subprocess.Popen[bytes]"], patience_s: float = PATIENCE_S) -> None:
    """Ends these processes, and kills those that have not ended in time. Their workers end with them."""
    for process in processes:
        if process.poll() is None:
            process.terminate()  # SIGINT may be ignored, as in what a shell starts in the background
    deadline = time.monotonic() + patience_s
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
