"""`--dry-run`: what a sweep would measure, how long it would take, and what it would write."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.engines.settings import EngineSettings
from mtbench.launch import estimate
from mtbench.plan.jobs import Cell, Plan
from mtbench.results.format import plural, size, span
from mtbench.results.reference_blas import remedy

if TYPE_CHECKING:
    from mtbench.engines.resume import Rest

SHOWN = 24
"""Kinds of cells; a sweep may have thousands."""

SLOW = 0.2
"""From this part of the time on, what a slow library takes is told."""

WHY_SLOW = "whose package for this CPU multiplies matrices with the reference BLAS."


def lines(rest: "Rest", folder: Path, engine: EngineSettings, slowdown: float) -> Iterator[str]:
    """What is left of a sweep, in words: its cells, arms, shapes, time and disk. `slowdown` is that of a busy machine."""
    plan = replace(rest.plan, jobs=rest.jobs, protocol=rest.protocol)
    jobs, cells, restarts = len(plan.jobs), plan.by_cell(), plan.protocol.restarts
    counts = [f"{count:,} {plural(count, noun)}" for count, noun in ((len(cells), "cell"), (restarts, "restart"))]
    yield f"{jobs:,} {plural(jobs, 'job')}: {', '.join(counts)}"
    yield f"  arms: {', '.join(arm.name for arm in plan.arms)}"
    kinds = shapes(plan)
    for kind, of in list(kinds.items())[:SHOWN]:
        yield f"  {kind}: {', '.join(of)}"
    if len(kinds) > SHOWN:
        yield f"  and {len(kinds) - SHOWN:,} more"
    if made := sorted({arm.requirement for arm in plan.arms if arm.requirement is not None}):
        yield f"Makes a Python environment for each of {', '.join(made)}, unless it exists already."
    slow = estimate.slow_s(plan)
    seconds = estimate.seconds(plan)
    on = f", divided among the shards of engine={engine.name}" if engine.cuts else ""
    yield f"About {span(seconds)} on an idle machine{on}; {_disk(plan)} below {folder}."
    for library, more_s in slow.items():
        if more_s > SLOW * seconds:
            yield f"{span(more_s).capitalize()} of that for {library}, {WHY_SLOW} {remedy(library)}"
    if plan.protocol.stop_after:
        yield f"It stops after {span(plan.protocol.stop_after)} (protocol.stop_after)."
    if slowdown >= estimate.BUSY and not engine.cuts:
        yield f"The machine is busy: it takes about {slowdown:.1f} times as long."
    yield "Nothing was measured or written."


def shapes(plan: Plan) -> dict[str, list[str]]:
    """The shapes of the cells that are else the same, by what these are."""
    found: dict[str, list[str]] = {}
    for jobs in plan.by_cell():
        cell = jobs[0].cell
        found.setdefault(_without_shape(cell), []).append(str(cell.shape))
    return found


def _without_shape(cell: Cell) -> str:
    return " ".join(word for word in str(cell).split(" ") if word != str(cell.shape)) or "all"


def _disk(plan: Plan) -> str:
    records = f"about {size(estimate.record_bytes(plan))}"
    drawn = estimate.drawn_bytes(plan)
    return f"{records}, and up to {size(drawn)} of weights in the cache folder," if drawn else records
