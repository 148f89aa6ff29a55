"""Runs the shards of a sweep on a Ray cluster, or a handful of Macs that have Ray: one task for each shard, which takes a whole
machine or one GPU. The machines need no common folder: records come back as they are made.

Ray's daemons use the processors during the measurement. Where there is SLURM, or only one machine, use those engines instead.
"""

import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtbench import interrupts, machine, plain
from mtbench.engines import following, shard, shards
from mtbench.engines.cut import even_shards, parts_of, weights
from mtbench.engines.following import Following
from mtbench.engines.local import Outcome
from mtbench.engines.settings import EngineSettings
from mtbench.engines.shards import Dealt, Shard, State
from mtbench.errors import ConfigError
from mtbench.machine import processors
from mtbench.paths import write_atomically
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.progress import Progress
from mtbench.results import record as records
from mtbench.results.record import Record
from mtbench.results.version import __version__

LOOKS_S = 2.0

TRIES = 3
"""How often a shard is begun if its machine or process dies each time."""

PATIENCE_S = 30.0
"""How long tasks that were cancelled have to end before they are killed."""

PLACELESS_LOOKS = 30
"""The waiting shards are given up after this many looks in a row that found no place for any. A few looks are not enough: for a
moment, Ray may list no machine, or one whose last task it has not cleared away."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: Ray's id for it, its processors and GPUs, and what `probe` says there."""

    id: str
    cpus: int
    gpus: int
    machine_id: str
    chip: str
    version: str  # of mtbench there


@dataclass(frozen=True)
class Spot:
    """Room for one task: a whole machine, or one of its GPUs with an equal share of the processors."""

    node: Node
    number: int = 0
    of: int = 1

    @property
    def takes(self) -> tuple[int, int]:
        """The processors and GPUs that a task here reserves."""
        return (self.node.cpus // self.of, 1) if self.of > 1 else (self.node.cpus, self.node.gpus)


@dataclass(frozen=True)
class Death:
    """Why a task died with its process or machine, and whether it had begun."""

    reason: str
    begun: bool


def spots(nodes: Sequence[Node], settings: EngineSettings) -> list[Spot]:
    """Where tasks can run."""
    if settings.gpus is None:
        return [Spot(node) for node in nodes]
    return [Spot(node, number, node.gpus) for node in nodes for number in range(node.gpus)]


def kinds(nodes: Sequence[Node]) -> dict[str, str]:
    """A folder's name for each kind of machine, by the machine's identity."""
    return {
        node.machine_id: f"{re.sub(r'[^a-zA-Z0-9]+', '_', node.chip).strip('_')}-{node.machine_id}" for node in nodes
    }


def shards_of(plan: Plan, jobs: Sequence[Job], settings: EngineSettings, nodes: Sequence[Node]) -> tuple[Shard, ...]:
    """These jobs in shards for these machines. Raises ConfigError where there is no place for one."""
    cells = replace(plan, jobs=tuple(jobs)).by_cell()
    weighed = weights(plan, cells)
    places = spots(nodes, settings)
    if not places:
        raise ConfigError(f"engine=ray: the cluster has no {'GPU' if nodes else 'machine'}.")
    if settings.each == "machine":
        every = tuple(weighed)
        named = sorted(kinds(nodes).items())
        return tuple(
            Shard(number, every, sum(weighed.values()), Path(name), machine=identity)
            for number, (identity, name) in enumerate(named)
        )
    minutes = settings.shard_minutes or 20
    parts = settings.shards or max(len(places), parts_of(sum(weighed.values()), 60 * minutes, len(cells)))
    return even_shards(cells, parts, weighed)


def cut(plan: Plan, jobs: Sequence[Job], settings: EngineSettings) -> tuple[Shard, ...]:
    """These jobs in shards for the machines that the cluster has now. Raises ConfigError."""
    return shards_of(plan, jobs, settings, Cluster(settings).nodes())


def queued(dealt: Dealt) -> Mapping[int, str | None]:
    """Nothing. Tasks end with the process that started them, which knows their state; any other process reads what the shards
    say."""
    return {}


def run(
    plan: Plan,
    folder: Path,
    dealt: Dealt,
    numbers: Sequence[int],
    progress: Progress,
    cluster: "Cluster | None" = None,
) -> Outcome:
    """Measures these shards on the cluster's machines. A shard whose machine or process dies is measured elsewhere. Ctrl-C
    cancels all; what was measured is kept."""
    cluster = cluster or Cluster(dealt.settings)
    follow = Following(folder, plan, dealt, progress)
    waiting, lost = list(numbers), set[int]()
    running: dict[Any, tuple[int, Spot]] = {}
    tries: Counter[int] = Counter()
    placeless = 0

    def said() -> dict[int, str | None]:
        alive = {number: "running" for number, _ in running.values()} | dict.fromkeys(waiting, "waiting")
        return {one.number: alive.get(one.number, "gone" if one.number in lost else None) for one in dealt.shards}

    try:
        collector = cluster.collector(folder)
        while waiting or running:
            taken = {spot for _, spot in running.values()}
            for spot in [spot for spot in spots(cluster.nodes(), dealt.settings) if spot not in taken]:
                fits = [one for one in waiting if dealt.shards[one].machine in (None, spot.node.machine_id)]
                if fits:
                    waiting.remove(fits[0])
                    running[cluster.start(plan, folder, dealt, fits[0], spot, collector)] = fits[0], spot
            placeless = 0 if running else placeless + 1
            if placeless >= PLACELESS_LOOKS:
                progress.warn("no machine of the cluster is left for the shards that wait")
                lost |= set(waiting)
                _say_ended(folder, waiting, "failed", "no machine of the cluster was left for it")
                waiting.clear()
            for task in cluster.ended(list(running), LOOKS_S):
                number, spot = running.pop(task)
                if (death := cluster.death(task, spot)) is not None:
                    tries[number] += death.begun
                    (lost.add if tries[number] >= TRIES else waiting.append)(number)
                    progress.note(
                        f"shard {number}: {death.reason}; " + ("lost" if number in lost else "it goes on elsewhere")
                    )
                if death is None or number in lost:
                    reason = f"{death.reason}, {TRIES} times" if death else "its task ended without saying how"
                    _say_ended(folder, [number], "failed", reason)
            follow.look(said())
    except KeyboardInterrupt:
        progress.note("Interrupted; the tasks are cancelled, and what they measured is kept.")
        cluster.cancel(list(running), PATIENCE_S)
        running.clear()
        waiting.clear()
        _say_ended(folder, numbers, "interrupted", None)  # all, since one may just be starting
    return following.outcome(folder, plan, dealt, follow.look(said()), progress)


def _say_ended(folder: Path, numbers: Sequence[int], status: str, reason: str | None) -> None:
    """Writes how these shards ended, for those that did not write it themselves: nobody else will."""
    for number in numbers:
        state = shards.read_state(folder, number) or State()
        if state.status == "running":
            with suppress(OSError):  # a full disk; the shard counts as lost once it has been silent for long enough
                shards.write_state(folder, number, replace(state, status=status, reason=reason))


class Cluster:
    """A connection to a Ray cluster. Raises ConfigError where Ray is not installed, or does not answer."""

    def __init__(self, settings: EngineSettings) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ConfigError("engine=ray needs Ray; install it with: pip install 'mtbench[ray]'") from error
        self.ray: Any = ray
        address = settings.address or "auto"
        if address.startswith("ray://"):
            raise ConfigError(
                f"engine.address={address}: records are written where the sweep is started, so start it on a machine of the "
                "cluster, with engine.address=auto."
            )
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False, namespace="mtbench")
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                said = (str(error).splitlines() or [type(error).__name__])[0]
                raise ConfigError(
                    f"engine=ray: no cluster answers at engine.address={address} ({said}); start one with: ray start --head"
                ) from error
            interrupts.install()  # Ray takes SIGTERM over
        self._known: dict[str, Node | None] = {}

    def nodes(self) -> list[Node]:
        """The machines that are there now and have mtbench. Raises ConfigError where one has another version of it."""
        here = {one["NodeID"]: one["Resources"] for one in self.ray.nodes() if one["Alive"]}
        asked = {id: self._on(id, probe, 0, 0).remote() for id in here if id not in self._known}
        for id, task in asked.items():
            with suppress(self.ray.exceptions.RayError):  # it died meanwhile
                said = self.ray.get(task)
                cpus, gpus = int(here[id].get("CPU", 0)), int(here[id].get("GPU", 0))
                self._known[id] = (
                    Node(id, cpus, gpus, *said) if cpus else None
                )  # a head without processors measures nothing
        found = [node for id in here if (node := self._known.get(id)) is not None]
        for node in found:
            if node.version != __version__:
                raise ConfigError(
                    f"engine=ray: a machine of the cluster ({node.chip}) has mtbench {node.version}, but this one has "
                    f"{__version__}; install the same version on both."
                )
        return found

    def collector(self, folder: Path) -> Any:
        """An actor on this machine that writes what shards send."""
        here = self.ray.get_runtime_context().get_node_id()
        return self._on(here, Collector, 0, 0).remote(str(folder.absolute()))

    def start(self, plan: Plan, folder: Path, dealt: Dealt, number: int, spot: Spot, collector: Any) -> Any:
        """Starts a shard's task, and sends along the records that the shard has already."""
        own = dealt.shards[number]
        files = [own.folder / job.folder / records.FILE_NAME for job in own.of(plan).jobs]
        there = {str(file): (folder / file).read_bytes() for file in files if (folder / file).is_file()}
        own_room = (spot.number, spot.of)
        task = self._on(spot.node.id, measure, *spot.takes)
        return task.remote(plan.to_json(), plain.to_plain(dealt), number, there, own_room, collector)

    def ended(self, tasks: list[Any], seconds: float) -> list[Any]:
        """Waits for a task to end, in whatever way, and gives it; gives none if none ends within `seconds`."""
        if not tasks:
            time.sleep(seconds)
            return []
        found: list[Any] = self.ray.wait(tasks, num_returns=1, timeout=seconds)[0]
        return found

    def death(self, task: Any, spot: Spot) -> Death | None:
        """How a task died with its process or machine; None where it ended by itself, since its shard has then said how. A
        machine that is gone gets no more tasks, although Ray lists it for some seconds longer."""
        known = self.ray.exceptions
        try:
            self.ray.get(task)
        except (known.RayTaskError, known.TaskCancelledError):
            return None
        except (known.NodeDiedError, known.TaskUnschedulableError) as error:
            self._known[spot.node.id] = None
            return Death("its machine is gone", begun=isinstance(error, known.NodeDiedError))
        except known.RayError as error:
            return Death(f"its process died ({type(error).__name__})", begun=True)
        except Exception:  # what the task itself raised, in its own type
            return None
        return None

    def cancel(self, tasks: list[Any], seconds: float) -> None:
        """Ends tasks as Ctrl-C would, and kills those that have not ended after `seconds`."""
        for task in tasks:
            self.ray.cancel(task, recursive=False)  # sending a record home is a task, too, and may finish
        if tasks:
            for task in self.ray.wait(tasks, num_returns=len(tasks), timeout=seconds)[1]:
                self.ray.cancel(task, force=True)

    def _on(self, node: str, what: Any, cpus: int, gpus: int) -> Any:
        """A function or a class that runs on this machine and on no other."""
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": strategy}
        if not isinstance(what, type):
            options["max_retries"] = 0  # `run` starts it again, with the records there are by then
        return self.ray.remote(what).options(**options)


class Collector:
    """Writes what shards send into the sweep's folder, where the sweep was started."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def keep(self, file: str, content: bytes) -> None:
        """Raises OSError."""
        write_atomically(self.folder / file, content)

    def tell(self, number: int, state: Any) -> None:
        """Raises OSError."""
        shards.write_state(self.folder, number, plain.from_plain(State, state))


def probe() -> tuple[str, str, str]:
    """What a machine says of itself: its identity, its chip, and its version of mtbench."""
    here = machine.describe()
    return machine.identity(here), str(here.get("chip") or "machine"), __version__


def measure(
    plan_json: str, dealt_json: Any, number: int, there: dict[str, bytes], room: tuple[int, int], collector: Any
) -> str:
    """A shard's task: measures what is left of it into a folder of its own, and sends each record home."""
    import ray

    os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it to the processors that the task asked for
    plan, dealt = Plan.from_json(plan_json), plain.from_plain(Dealt, dealt_json)
    one = _with_processors(dealt.shards[number], *room)
    by_id = {job.id: job for job in plan.jobs}
    with tempfile.TemporaryDirectory(prefix="mtbench-shard-") as temporary:
        folder = Path(temporary)
        for file, content in there.items():
            write_atomically(folder / file, content)
        (folder / shards.FOLDER).mkdir()

        def recorded(record: Record) -> None:
            file = one.folder / by_id[record.job_id].folder / records.FILE_NAME
            if (folder / file).is_file():
                ray.get(collector.keep.remote(str(file), (folder / file).read_bytes()))

        def tell(state: State) -> None:
            ray.get(collector.tell.remote(number, plain.to_plain(state)))

        job = str(ray.get_runtime_context().get_task_id())
        return shard.measure(plan, dealt, one, folder, job, tell, recorded)


def _with_processors(one: Shard, number: int, of: int) -> Shard:
    """A shard that shares its machine with others has processors of its own there."""
    if of == 1:
        return one
    own = processors.dealt(processors.cores(processors.usable()), of) if hasattr(os, "sched_setaffinity") else [()] * of
    return replace(one, processors=own[number], beside=of, machine_processors=sum(map(len, own)) or None)
