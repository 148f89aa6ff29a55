"""`mtbench resume`: from a folder and what is asked for to what is left of its sweep, which is then measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mtbench.engines import resume
from mtbench.launch.app import run_rest
from mtbench.plan.jobs import Plan


def go_on(
    folder: Path,
    settings: Sequence[str],
    retry: Sequence[str],
    only_inconclusive: bool,
    dry_run: bool,
    say: Callable[[str], None],
) -> None:
    """Goes on with the sweep in a folder. Raises ConfigError where that cannot be, and SystemExit where not all went well."""
    plan = resume.read_plan(folder)
    protocol = resume.changed(plan, settings)
    if only_inconclusive:
        # The plan keeps its restarts: cells whose verdict is clear are whole with these.
        if protocol.restarts == plan.protocol.restarts:
            protocol = resume.sharpened(plan.protocol, 2 * plan.protocol.restarts, protocol)
        rest = resume.rest(plan, folder, retry, open_cells(plan, folder), protocol)
    else:
        rest = resume.rest(replace(plan, protocol=protocol), folder, retry)
    say(f"{folder}: {rest}.")
    if not dry_run:
        run_rest(rest, folder)


def open_cells(plan: Plan, folder: Path) -> set[str]:
    """The cells in which an arm's verdict against the baseline is inconclusive, corrected as the table at the end has it."""
    from mtbench.results import cells
    from mtbench.results.baseline import against_baseline

    found = resume.read_records(plan, folder).values()
    verdicts = against_baseline(cells.by_cell(found))
    unclear = {job for (_, job), one in verdicts.items() if one.verdict == "inconclusive"}
    return {record.cell_id for record in found if record.job_id in unclear}
