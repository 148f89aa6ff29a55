"""Cuts a plan into parts of whole cells that take about equally long, by an estimate of each cell's time."""

import heapq
from collections.abc import Callable, Mapping, Sequence

from mtbench.engines.shards import Shard
from mtbench.plan.jobs import Job, Plan
from mtbench.plan.protocol import Protocol

PREPARE_S = 1.5
"""To build one arm of a cell, check its answer and release it; seen for small operators on two cores."""

COMPILE_S = 10.0
"""To compile an arm, once a sweep: torch.compile takes 5 to 20 s for a small operator."""

FLOPS_PER_S, BYTES_PER_S = 2e11, 2e10
"""Rates of a modest processor. They only have to tell which cells take longer than others. On a faster machine more calls fit
into the shortest block, so the cells differ less."""


def seconds(cell: Sequence[Job], protocol: Protocol) -> float:
    """About how many seconds a cell takes with all its restarts: rounds up to the budget, and the preparation before them."""
    block_s = sum(_block_s(job, protocol) for job in cell)
    rounds_s = min(protocol.visit_budget_s, 2 * protocol.rounds * block_s)  # each round has two blocks of an arm
    before_s = len(cell) * (PREPARE_S + protocol.warmup_s)
    compiled = sum(job.arm.mode == "compiled" for job in cell)
    return protocol.restarts * (rounds_s + before_s) * (1 + protocol.cooldown_fraction) + compiled * COMPILE_S


def parts_of(total_s: float, part_s: float, cells: int) -> int:
    """How many parts of about `part_s` seconds make up `total_s`; each has at least one cell."""
    return max(1, min(cells, round(total_s / part_s)))


def cut(
    cells: Sequence[Sequence[Job]], parts: int, weigh: Callable[[Sequence[Job]], float]
) -> list[list[Sequence[Job]]]:
    """The cells in at most `parts` parts, none of them empty. Each part keeps the order given.

    Cells are placed longest first, each into the part that is shortest so far. The longest part then takes at most 4/3 of the
    best possible time (Graham 1969, https://doi.org/10.1137/0117039). The same cells always make the same parts.
    """
    weights = [weigh(cell) for cell in cells]
    taken: list[list[int]] = [[] for _ in range(min(parts, len(cells)))]
    shortest = [(0.0, part) for part in range(len(taken))]
    for number in sorted(range(len(cells)), key=lambda number: (-weights[number], number)):
        so_far, part = heapq.heappop(shortest)
        taken[part].append(number)
        heapq.heappush(shortest, (so_far + weights[number], part))
    return [[cells[number] for number in sorted(part)] for part in taken]


def weights(plan: Plan, cells: Sequence[Sequence[Job]]) -> dict[str, float]:
    """About how long each of these cells takes, in seconds, by its id."""
    return {cell[0].cell.id: seconds(cell, plan.protocol) for cell in cells}


def even_shards(cells: Sequence[Sequence[Job]], parts: int, weights: Mapping[str, float]) -> tuple[Shard, ...]:
    """The cells in at most `parts` shards that take about equally long."""
    found = cut(cells, parts, lambda cell: weights[cell[0].cell.id])
    return tuple(
        Shard(number, ids := tuple(cell[0].cell.id for cell in part), sum(weights[one] for one in ids))
        for number, part in enumerate(found)
    )


def _block_s(job: Job, protocol: Protocol) -> float:
    shortest_s = protocol.block_ms / 1e3
    try:
        problem = job.task.problem
        call_s = max(
            (problem.flops(job.task.shape) or 0.0) / FLOPS_PER_S,
            problem.bytes_moved(job.task.shape, job.task.dtype) / BYTES_PER_S,
        )
    except Exception:  # a user's own operator; its record will report the failure
        return shortest_s
    return max(shortest_s, call_s, min(protocol.block_calls * call_s, protocol.block_cap_s))
