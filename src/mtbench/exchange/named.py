"""What is exported of each job: its name, and how it compares, as every display of ours has it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.results import cells
from mtbench.results.baseline import against_baseline
from mtbench.results.record import Record
from mtbench.results.verdicts import Comparison


@dataclass(frozen=True)
class Named:
    """A job with a name that tells it from the others: `mha bfloat16 batch 1 seq 128 num_heads=8, torch_compiled`.

    `compared` is its latency against that of the cell's baseline, None for the baseline and where there is no comparison.
    """

    record: Record
    cell: str
    name: str
    compared: Comparison | None


def named(records: Sequence[Record]) -> list[Named]:
    """Of each job the newest record, sorted by cell, arms as measured. Machines and versions are told where they differ."""
    newest: dict[tuple[str, str, str | None], Record] = {}
    for one in sorted(records, key=lambda one: (one.finished_at is not None, one.finished_at)):
        newest[one.machine_id, one.job_id, one.library_version] = one
    kept = list(newest.values())
    sorted_cells = cells.by_cell(kept)
    compared = against_baseline(sorted_cells)
    machines = {(one.source, one.machine_id) for one in kept}
    versions = {(one.framework, one.library_version) for one in kept if one.library_version}
    held = [cell for cell, _ in sorted_cells]
    found = []
    for cell, members in sorted_cells:
        title = cell.title(cells.differing(held, cell.operator))
        for one in members:
            parts = [one.arm]
            several = sum(framework == one.framework for framework, _ in versions) > 1
            parts += [str(one.library_version)] if several and str(one.library_version) not in one.arm else []
            parts += [f"machine {one.machine_id}"] if sum(source == one.source for source, _ in machines) > 1 else []
            parts += [f"published by {one.source}"] if one.source else []
            parts += ["unverified"] if one.status == "unverified" and not one.source else []
            name = f"{title}, {' '.join(parts)}"
            found.append(Named(one, title, name, compared.get((one.sweep_id, one.job_id))))
    return found
