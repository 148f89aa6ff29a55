"""Operators without a definition: a library's form is the reference, and nobody need have counted the work."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtbench.bench.worker import correctness
from mtbench.catalogue import registry
from mtbench.engines import local
from mtbench.errors import ConfigError
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Task, job
from mtbench.plan.protocol import Protocol

DOUBLED = """
from dataclasses import dataclass

from mtbench.operators.base import Operator, array_bytes


@dataclass(frozen=True)
class Doubled(Operator):
    width: int = 16

    reference_library = "numpy"

    def inputs(self, rng, shape):
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.width))}

    def bytes_moved(self, shape, dtype):
        return 2 * array_bytes({"x": (shape.batch_size, shape.seq_len, self.width)}, dtype)

    def numpy(self, w):
        return lambda x: (x + x, x.argmax(-1))

    def numpy_last(self, w):
        return lambda x: (x + x, x.argmax(-1) * 0)
"""


def written(folder: Path, source: str = DOUBLED) -> str:
    file = folder / "doubled.py"
    file.write_text(source)
    return str(file)


def test_every_form_is_held_against_the_reference_librarys(
    tmp_path: Path, brief: Protocol, measure: Callable[..., local.Outcome]
) -> None:
    task = Task("doubled", (("width", 8),), "float32", Shape(2, 4), written(tmp_path))
    arms = [Arm("numpy", variant=variant) for variant in ("native", "last", "portable")]
    found = {one.variant: one for one in measure([job(task, arm, 1e-5) for arm in arms], brief).records}
    assert {name: one.status for name, one in found.items()} == {
        "native": "ok",
        "last": "mismatch",
        "portable": "unsupported",
    }
    assert found["portable"].reason is not None
    assert "its reference is numpy's form" in found["portable"].reason
    native = found["native"]
    assert (native.flops, native.flops_per_s, native.limit_ns) == (None, None, None)
    assert native.bytes_moved == 2 * 2 * 4 * 8 * 4
    assert native.bytes_per_s == pytest.approx(native.bytes_moved / native.throughput_ns * 1e9)


def test_the_reference_is_in_float64_and_indices_stay_whole(tmp_path: Path) -> None:
    problem = registry.load("operator", "doubled", written(tmp_path)).from_params({})
    x = np.random.default_rng(0).standard_normal((2, 4, 16))
    doubled, index = correctness.reference(problem, correctness.Case({"x": x}, {}))
    assert (doubled == 2 * x).all()
    assert doubled.dtype == np.float64
    assert (index == x.argmax(-1)).all()
    assert index.dtype == np.int64


@pytest.mark.parametrize(
    ("library", "says"),
    [("jax", "jax does not compute in float64"), ("mlx", "give it a method mlx"), ("tensor", "No framework 'tensor'")],
)
def test_a_reference_that_cannot_be_had_is_one_line(library: str, says: str, tmp_path: Path) -> None:
    (folder := tmp_path / library).mkdir()  # a user's file is known by its folder's name
    file = written(folder, DOUBLED.replace('"numpy"', f'"{library}"'))
    problem = registry.load("operator", "doubled", file).from_params({})
    with pytest.raises(ConfigError, match=f"^the reference of doubled failed: (Doubled .*)?{says}") as error:
        correctness.reference(problem, correctness.Case({"x": np.zeros((1, 1, 16))}, {}))
    assert "\n" not in str(error.value)
