"""Runs what is left of a sweep by the engine that was chosen: here, or cut into shards that run side by side or elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol as Interface

from mtbench.engines import following, local, resume, shards
from mtbench.engines.local import Outcome
from mtbench.engines.resume import Rest
from mtbench.engines.settings import EngineSettings, check
from mtbench.engines.shards import Dealt, Shard
from mtbench.errors import ConfigError
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.progress import Extent, Progress, Standing
from mtbench.plan.protocol import Protocol


class Engine(Interface):
    """The functions that the file of each engine that cuts a sweep must have."""

    def cut(self, plan: Plan, jobs: Sequence[Job], settings: EngineSettings) -> tuple[Shard, ...]:
        """These jobs of a plan in shards. Raises ConfigError where they cannot run here."""

    def queued(self, dealt: Dealt) -> Mapping[int, str | None]:
        """What the engine says of the shards that it was given: waiting, running or gone; None where it cannot be asked."""

    def run(self, plan: Plan, folder: Path, dealt: Dealt, numbers: Sequence[int], progress: Progress) -> Outcome:
        """Measures these shards, and gives the records of all. Those that run already are followed too."""


def rest_of(
    plan: Plan,
    folder: Path,
    retry: Sequence[str] = (),
    only: set[str] | None = None,
    protocol: Protocol | None = None,
) -> Rest:
    """What is left of a sweep, whether or not it was cut into shards. Raises ConfigError as `resume.rest` does."""
    dealt = shards.read(folder)
    if dealt is None:
        return resume.rest(plan, folder, retry, only, protocol)
    found = [resume.rest(plan, place, retry, only, protocol, elsewhere="count") for place in shards.places(folder)]
    left = {job.id for rest in found for job in rest.jobs}
    return replace(found[0], jobs=tuple(job for job in plan.jobs if job.id in left))


def run(rest: Rest, folder: Path, settings: EngineSettings, progress: Progress) -> Outcome:
    """Measures what is left of a sweep, and gives its records.

    Raises ConfigError where the engine cannot run it, or where the sweep would have to be cut anew while its shards run.
    """
    settings = check(settings)
    before = shards.read(folder)
    if before is None and not settings.cuts:
        return local.run_rest(rest, folder, progress)
    engine = _engine(settings)
    queued = {} if before is None else _engine(before.settings).queued(before)  # perhaps another engine
    alive = {number for number, said in queued.items() if said in ("waiting", "running")}
    plan = rest.plan
    if before is None or replace(before.settings, wait=settings.wait) != settings or not _covers(before, rest.jobs):
        if alive:
            raise ConfigError(
                f"{folder}: shards {', '.join(map(str, sorted(alive)))} are still waiting or running; let them end before the "
                "sweep is cut anew."
            )
        dealt = Dealt(settings, engine.cut(plan, rest.jobs, settings))
    else:
        dealt = replace(before, settings=settings)
    protocol = rest.protocol if rest.protocol != plan.protocol else None
    only = None if rest.only is None else tuple(sorted(rest.only))
    dealt = replace(dealt, retry=rest.retry, only=only, protocol=protocol)
    numbers = [
        shard.number for shard in dealt.shards if shard.number not in alive and _left(plan, folder, dealt, shard)
    ]
    local.write_plan(plan, folder)
    shards.write(dealt, folder)
    shards.forget_states(folder, numbers)
    progress.sweep_started(_extent(rest, dealt, folder))
    return engine.run(plan, folder, dealt, numbers, progress)


def standings(folder: Path) -> tuple[Plan, list[Standing]]:
    """The sweep in a folder, and how each of its shards is doing: none where it was not cut. Raises ConfigError where there is
    no sweep."""
    plan, dealt = resume.read_plan(folder), shards.read(folder)
    if dealt is None:
        return plan, []
    return plan, following.standings(folder, plan, dealt, _engine(dealt.settings).queued(dealt))


def _engine(settings: EngineSettings) -> Engine:
    """The engine's module, loaded only when it is needed. Whether its library is installed, the module checks itself."""
    if settings.name == "slurm":
        from mtbench.engines import slurm

        return slurm
    if settings.name == "ray":
        from mtbench.engines import ray

        return ray
    from mtbench.engines import side_by_side

    return side_by_side


def _covers(dealt: Dealt, jobs: Sequence[Job]) -> bool:
    """Whether each of these jobs is in a shard."""
    known = {cell for shard in dealt.shards for cell in shard.cells}
    return all(job.cell.id in known for job in jobs)


def _left(plan: Plan, folder: Path, dealt: Dealt, shard: Shard) -> bool:
    """Whether anything of a shard is left to be measured."""
    own = folder / shard.folder
    left = resume.rest(shard.of(plan), own, dealt.retry, dealt.only, dealt.protocol, elsewhere="count")
    return bool(left.jobs)


def _extent(rest: Rest, dealt: Dealt, folder: Path) -> Extent:
    jobs = [job for shard in dealt.shards for job in shard.of(rest.plan).jobs]
    cells = sum(len(shard.cells) for shard in dealt.shards)
    return Extent(cells, rest.plan.arms, len(jobs), rest.protocol.restarts, folder)
