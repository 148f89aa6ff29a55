"""`mtbench resume`: from a folder and what is asked for to what is left of its sweep, and the engine that goes on with it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtbench.engines import resume, shards
from mtbench.engines.run import rest_of
from mtbench.engines.settings import EngineSettings, changed
from mtbench.plan.jobs import Plan


def left(folder: Path, settings: Sequence[str], retry: Sequence[str], only_inconclusive: bool) -> resume.Rest:
    """What is left of the sweep in a folder, as `mtbench resume` is asked for it. Raises ConfigError where that cannot be."""
    plan = resume.read_plan(folder)
    protocol = resume.changed(plan, settings)
    if not only_inconclusive:
        return rest_of(replace(plan, protocol=protocol), folder, retry)
    # The plan keeps its restarts: cells whose verdict is clear are whole with these.
    if protocol.restarts == plan.protocol.restarts:
        protocol = resume.sharpened(plan.protocol, 2 * plan.protocol.restarts, protocol)
    return rest_of(plan, folder, retry, open_cells(plan, folder), protocol)


def engine(folder: Path, settings: Sequence[str]) -> EngineSettings:
    """The engine that began the sweep, with what is asked for instead. It is waited for, also where it was left to itself
    before. Raises ConfigError."""
    dealt = shards.read(folder)
    return changed(EngineSettings() if dealt is None else replace(dealt.settings, wait=True), settings)


def open_cells(plan: Plan, folder: Path) -> set[str]:
    """The cells in which an arm's verdict against the baseline is inconclusive, corrected as the table at the end has it, or in
    which it is not sure who is fastest, as the sentences below it have it."""
    from mtbench.results import cells
    from mtbench.results.answers import contests, questions
    from mtbench.results.baseline import against_baseline

    unclear: set[str] = set()
    for place in shards.places(folder):
        found = list(resume.read_records(plan, place).values())
        verdicts = against_baseline(cells.by_cell(found))
        jobs = {job for (_, job), one in verdicts.items() if one.verdict == "inconclusive"}
        unsure = questions.still_open(contests.rounds(contests.of_records(found)))
        unclear |= {record.cell_id for record in found if record.job_id in jobs} | unsure.get(plan.id, set())
    return unclear
