"""Each arm against its cell's baseline: the comparisons that a table of a sweep shows, corrected together."""

import json
from collections.abc import Sequence

from mtbench.results import cells, comparison
from mtbench.results.cells import Held
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison

LAST_RESORT = ("numpy",)
"""Libraries that nobody chooses between: others are compared with them only where there is nothing else."""


def against_baseline(
    sorted_cells: Sequence[tuple[Held, Sequence[Record]]], metric: str = "latency"
) -> dict[tuple[str, str], Comparison]:
    """Each measured job against its cell's baseline, by sweep and job; the baseline itself has none.

    Verdicts hold for all cells of a section at once: one that does not survive the correction is inconclusive.
    """
    jobs: list[tuple[str, str]] = []
    found: list[tuple[object, Comparison]] = []
    for held, cell in sorted_cells:
        measured = [record for record in cell if getattr(record, f"{metric}_ns") is not None]
        baseline = _baseline(measured)
        for record in measured:
            one = None if baseline is None or record is baseline else comparison.between(baseline, record, metric)
            if baseline is not None and one is not None:
                jobs.append((record.sweep_id, record.job_id))
                found.append((cells.family(held, baseline.arm, record.arm), one))
    return dict(zip(jobs, comparison.judged(found), strict=True))


def _baseline(measured: Sequence[Record]) -> Record | None:
    """The arm that the protocol names, else the first whose answer was checked, which is of LAST_RESORT only where all are."""
    named = [record for record in measured if record.arm == json.loads(record.protocol).get("baseline")]
    checked = [record for record in measured if record.status == "ok"]
    usual = [record for record in checked if record.framework not in LAST_RESORT]
    return next(iter([*named, *usual, *checked]), None)
