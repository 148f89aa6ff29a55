"""Measures one shard where this process runs: `python -m mtbench.engines.shard FOLDER NUMBER`, or called by an engine."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mtbench import interrupts, machine
from mtbench.bench.controller.job_state import Place
from mtbench.engines import local, resume, shards
from mtbench.engines.claim import claimed
from mtbench.engines.local import Host
from mtbench.engines.shards import Dealt, Shard, State
from mtbench.errors import ConfigError
from mtbench.machine import nvidia, processors
from mtbench.plan.jobs import Cell, Plan
from mtbench.plan.progress import Progress
from mtbench.results.record import Record

SAYS_S = 5.0
"""The least time between two reports of how far a shard is. They are written between blocks."""

PATIENCE_S = 60.0
"""How long to wait for a shard's last run to end. If the process that started it was killed, it was told to end, but its worker
may still be in a call."""

Tell = Callable[[State], None]


class Told(Progress):
    """Reports how far a shard is. Notes and warnings are printed too, for the engine's own log."""

    def __init__(self, state: State, tell: Tell, recorded: Callable[[Record], None] | None = None) -> None:
        self.state = state
        self.tell = tell
        self.recorded = recorded
        self.statuses: dict[str, str] = {}  # by job
        self.told_at = -SAYS_S

    def say(self, **news: object) -> None:
        """Reports these changes at once."""
        self.state = replace(self.state, updated_at=datetime.now(UTC), **news)  # type: ignore[arg-type]
        self.told_at = time.monotonic()
        try:
            self.tell(self.state)
        except OSError as error:  # a shared folder may be full or gone for a moment
            print(f"this shard cannot report its progress: {error}", flush=True)

    def restart_started(self, restart: int) -> None:
        self._say_now_and_then()

    def round_finished(self, rounds: int, of: int, medians_ns: Mapping[str, float]) -> None:
        self._say_now_and_then()

    def cell_finished(self, cell: Cell) -> None:
        self.state = replace(self.state, visits=min(self.state.visits + 1, self.state.of))
        self._say_now_and_then()

    def job_recorded(self, record: Record) -> None:
        self.statuses[record.job_id] = record.status
        self.state = replace(self.state, records=dict(Counter(self.statuses.values())))
        if self.recorded is not None:
            self.recorded(record)

    def note(self, message: str) -> None:
        print(message, flush=True)

    def warn(self, message: str) -> None:
        print(f"warning: {message}", flush=True)
        if message not in self.state.warnings:
            self.say(warnings=(*self.state.warnings, message))

    def _say_now_and_then(self) -> None:
        if time.monotonic() - self.told_at >= SAYS_S:
            self.say()


def measure(
    plan: Plan,
    dealt: Dealt,
    shard: Shard,
    folder: Path,
    job: str | None,
    tell: Tell,
    recorded: Callable[[Record], None] | None = None,
    host: Host = local.THIS_MACHINE,
) -> str:
    """Measures what is left of a shard, and gives its last status: done, interrupted, or failed where records could not be
    written.

    `plan` is the whole sweep's, `folder` the sweep's folder here. Raises ConfigError where the shard cannot be measured here,
    after reporting it as failed.
    """
    if shard.gpu is not None:
        if nvidia.VISIBLE not in os.environ:  # if it is set, the GPUs have an order already
            os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the driver's order
        os.environ[nvidia.VISIBLE] = shard.gpu
    description = machine.describe()
    state = State("running", job, description.get("chip") or "", machine.identity(description), shard.gpu)
    told = Told(state, tell, recorded)
    told.say()
    try:
        if shard.processors:
            processors.keep_on(shard.processors)
        own = folder / shard.folder
        rest = resume.rest(
            shard.of(plan), own, dealt.retry, dealt.only, dealt.protocol, elsewhere="anew", gpu_id=_gpu_id()
        )
        of = len(shard.cells) * rest.protocol.restarts
        begun = rest.begun.restarts.values()  # of the cells that are left
        told.say(visits=of - len(begun) * rest.protocol.restarts + sum(begun), of=of)
        place = Place(dealt.settings.name, job, shard.number, shard.processors, shard.beside, shard.machine_processors)
        timing = folder.absolute() / shards.FOLDER / f"{shard.number}.timing.json"
        outcome = (
            local.measure(rest, own, told, host, place, timing)
            if rest.jobs
            else local.Outcome(rest.begun.kept, interrupted=False)
        )
    except Exception as error:
        told.say(status="failed", reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    except BaseException:
        told.say(status="interrupted")
        raise
    status = "interrupted" if outcome.interrupted else "done"
    unwritten = f"{outcome.unwritten} records could not be written" if outcome.unwritten else None
    told.say(status="failed" if unwritten else status, reason=unwritten)
    return told.state.status


def run(folder: Path, number: int, job: str | None) -> str:
    """Measures a shard of the sweep in a folder, by the files there. Raises ConfigError."""
    plan, dealt = resume.read_plan(folder), shards.read(folder)
    if dealt is None or number >= len(dealt.shards):
        raise ConfigError(f"{folder} has no shard {number}.")
    own = folder / shards.FOLDER
    with claimed(own, f"{number}.lock", PATIENCE_S):  # its last run may still be ending
        return measure(
            plan, dealt, dealt.shards[number], folder, job, lambda state: shards.write_state(folder, number, state)
        )


def _gpu_id() -> str | None:
    gpu = nvidia.open_gpu()
    if not isinstance(gpu, nvidia.Gpu):
        return None
    identity = gpu.identity()
    gpu.close()
    return identity


def _end_with_parent() -> None:
    """Ends this process as `kill` does when the process that started it is gone, which closes our standard input."""

    def wait() -> None:
        while os.read(0, 1):  # not by sys.stdin: Python needs its lock to exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(folder: str, number: str) -> int:
    """Exit codes: 0 done, 1 failed, 130 interrupted."""
    try:
        return {"done": 0, "failed": 1}.get(run(Path(folder), int(number), None), 130)
    except ConfigError as error:
        print(f"mtbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    interrupts.install()
    _end_with_parent()
    code = main(*sys.argv[1:])
    interrupts.done()
    sys.exit(code)
