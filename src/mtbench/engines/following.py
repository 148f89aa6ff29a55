"""Follows the shards of a sweep from the files in its folder, and gathers their records."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mtbench.engines import resume, shards
from mtbench.engines.local import Outcome
from mtbench.engines.shards import Dealt, Shard, State
from mtbench.plan.jobs import Plan
from mtbench.plan.progress import Progress, Standing
from mtbench.results.record import Record


def standings(folder: Path, plan: Plan, dealt: Dealt, queued: Mapping[int, str | None]) -> list[Standing]:
    """How each shard is doing. `queued` has what the engine says of each shard's job: waiting, running or gone. Where the
    engine cannot be asked, the shard is missing there, or None."""
    found = []
    for shard in dealt.shards:
        state = shards.read_state(folder, shard.number)
        status = shards.standing(state, queued.get(shard.number), plan.protocol.timeout_s, datetime.now(UTC))
        where = _where(shard, state, dealt.jobs.get(str(shard.number)))
        done = (0, 0, None) if state is None else (state.visits, state.of, state.reason)
        found.append(Standing(shard.number, status, *done[:2], where, done[2]))
    return found


class Following:
    """Reports the shards to a Progress, and each of their warnings once."""

    def __init__(self, folder: Path, plan: Plan, dealt: Dealt, progress: Progress) -> None:
        self.folder = folder
        self.plan = plan
        self.dealt = dealt
        self.progress = progress
        self.told: set[str] = set()

    def look(self, queued: Mapping[int, str | None]) -> list[Standing]:
        """How each shard is doing; the progress is told, too."""
        found = standings(self.folder, self.plan, self.dealt, queued)
        self.progress.shards_seen(found)
        for shard in self.dealt.shards:
            state = shards.read_state(self.folder, shard.number)
            for warning in () if state is None else state.warnings:
                if warning not in self.told:
                    self.told.add(warning)
                    self.progress.warn(f"shard {shard.number}: {warning}")
        return found


def outcome(folder: Path, plan: Plan, dealt: Dealt, found: Sequence[Standing], progress: Progress) -> Outcome:
    """Shows and returns the records of all shards. Each folder is shown by itself, so that no record is compared with one from
    another kind of machine."""
    records: list[Record] = []
    interrupted = any(one.status == "interrupted" for one in found)
    for place in dict.fromkeys(shard.folder for shard in dealt.shards):
        by_job = resume.read_records(plan, folder / place)
        of_place = [by_job[job.id] for job in plan.jobs if job.id in by_job]
        if place != Path():
            progress.note(f"{_machine(of_place) or place}:")
        progress.sweep_finished(of_place, interrupted)
        records += of_place
    for one in found:
        if one.status in ("lost", "failed"):
            progress.note(f"shard {one.shard} is {one.status}{f': {one.reason}' if one.reason else ''} ({one.where})")
    return Outcome(records, interrupted, unfinished=sum(one.status != "done" for one in found))


def _machine(records: Sequence[Record]) -> str | None:
    return next((f"{json.loads(one.machine).get('chip') or 'machine'} ({one.machine_id})" for one in records), None)


def _where(shard: Shard, state: State | None, job: str | None) -> str:
    parts = [] if state is None or not state.machine_id else [f"{state.machine or 'machine'} ({state.machine_id})"]
    parts += [] if shard.gpu is None else [f"GPU {shard.gpu}"]
    named = job or (state and state.job)
    parts += [f"job {named}"] if named else []
    return ", ".join(parts)
