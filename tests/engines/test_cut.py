"""Cutting a plan into parts: whole cells, none twice, none missing, about equally long."""

import random
from dataclasses import replace

import pytest

from mtbench.engines.cut import cut, parts_of, seconds
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Job, Task, job, plan
from mtbench.plan.protocol import Protocol

ARMS = (Arm("torch"), Arm("numpy"))


def matmul(size: int, *arms: Arm) -> list[Job]:
    task = Task("matmul", (("embed_dim", size),), "float32", Shape(1, size))
    return [job(task, arm, 1e-5) for arm in arms or ARMS]


def cells(count: int) -> list[list[Job]]:
    return plan([one for size in range(8, 8 + count) for one in matmul(size)], Protocol()).by_cell()


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
def test_every_cell_is_in_one_part_whole_and_in_order(parts):
    given = cells(7)
    draw = random.Random(parts)
    weights = {cell[0].cell.id: draw.expovariate(1) for cell in given}
    found = cut(given, parts, lambda cell: weights[cell[0].cell.id])
    assert len(found) == min(parts, 7)
    assert all(found)
    places = [[given.index(cell) for cell in part] for part in found]
    assert sorted(place for part in places for place in part) == list(range(7))
    assert all(part == sorted(part) for part in places)
    assert found == cut(given, parts, lambda cell: weights[cell[0].cell.id])


def test_parts_take_about_equally_long():
    draw = random.Random(1)
    for _ in range(200):
        given = cells(draw.randint(1, 12))
        weights = {cell[0].cell.id: draw.uniform(1, 100) for cell in given}
        parts = draw.randint(1, 5)
        lengths = [
            sum(weights[cell[0].cell.id] for cell in part)
            for part in cut(given, parts, lambda cell, weights=weights: weights[cell[0].cell.id])
        ]
        best = max(max(weights.values()), sum(weights.values()) / parts)  # no cut is better than this
        assert max(lengths) <= best + max(weights.values()) * (1 - 1 / parts) + 1e-9  # Graham's bound for any order


def test_what_takes_longer_is_estimated_so():
    protocol = Protocol(restarts=3, cell_budget_s=60)
    small, large = matmul(64), matmul(4096)
    assert seconds(small, protocol) < seconds(large, protocol)
    assert seconds(matmul(64, *ARMS, Arm("mlx")), protocol) > seconds(small, protocol)
    assert seconds(matmul(64, replace(ARMS[0], mode="compiled"), ARMS[1]), protocol) > seconds(small, protocol)
    assert seconds(small, replace(protocol, restarts=6, cell_budget_s=120)) > seconds(small, protocol)


def test_rounds_are_never_estimated_beyond_the_budget():
    protocol = Protocol(restarts=2, cell_budget_s=10)
    huge = matmul(65536)
    assert seconds(huge, protocol) <= 10 + 2 * len(huge) * (1.5 + protocol.warmup_s)


def test_a_part_is_about_as_long_as_asked_for():
    assert parts_of(3600 * 4.1, 3600, 100) == 4
    assert parts_of(60, 3600, 100) == 1
    assert parts_of(3600 * 50, 3600, 12) == 12
