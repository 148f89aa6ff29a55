"""`mtbench resume`: from a folder and what is asked for to what is left of its sweep."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtbench.engines import resume
from mtbench.plan.jobs import Plan


def left(folder: Path, settings: Sequence[str], retry: Sequence[str], only_inconclusive: bool) -> resume.Rest:
    """What is left of the sweep in a folder, as `mtbench resume` is asked for it. Raises ConfigError where that cannot be."""
    plan = resume.read_plan(folder)
    protocol = resume.changed(plan, settings)
    if not only_inconclusive:
        return resume.rest(replace(plan, protocol=protocol), folder, retry)
    # The plan keeps its restarts: cells whose verdict is clear are whole with these.
    if protocol.restarts == plan.protocol.restarts:
        protocol = resume.sharpened(plan.protocol, 2 * plan.protocol.restarts, protocol)
    return resume.rest(plan, folder, retry, open_cells(plan, folder), protocol)


def open_cells(plan: Plan, folder: Path) -> set[str]:
    """The cells in which an arm's verdict against the baseline is inconclusive, corrected as the table at the end has it, or in
    which it is not sure who is fastest, as the sentences below it have it."""
    from mtbench.results import cells
    from mtbench.results.answers import contests, questions
    from mtbench.results.baseline import against_baseline

    found = list(resume.read_records(plan, folder).values())
    verdicts = against_baseline(cells.by_cell(found))
    unclear = {job for (_, job), one in verdicts.items() if one.verdict == "inconclusive"}
    unsure = questions.still_open(contests.rounds(contests.of_records(found)))
    return {record.cell_id for record in found if record.job_id in unclear} | unsure.get(plan.id, set())
