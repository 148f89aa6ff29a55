"""Jobs and protocols for measuring in earnest, but briefly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mtbench import registry
from mtbench.bench.protocol import Protocol
from mtbench.operators.base import Shape
from mtbench.plan import Arm, Cell, Job, relative_folder

USER = Path(__file__).parent / "user"

MakeJob = Callable[..., Job]


@pytest.fixture
def brief() -> Protocol:
    return Protocol(restarts=1, looks=[3], cell_budget_s=5, block_ms=1, warmup_s=0.01, warmup_cap_s=0.5, timeout_s=60)


@pytest.fixture
def misbehaving(tmp_path: Path) -> MakeJob:
    """misbehaving(how, seq_len=8, **arm): a job of the operator that misbehaves as told."""

    def make(how: str, seq_len: int = 8, **arm: str) -> Job:
        file = str(USER / "operator" / "misbehaving.py")
        cell = Cell(
            operator="misbehaving",
            operator_class=registry.load("operator", "misbehaving", file),
            params=(("how", how),),
            dtype="float32",
            shape=Shape(2, seq_len),
            operator_file=file,
        )
        contender = replace(Arm("numpy"), **arm)
        return Job(cell, contender, 1e-5, tmp_path / relative_folder(cell, contender))

    return make
