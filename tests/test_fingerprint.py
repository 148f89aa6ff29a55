"""Fingerprints stay what they were: names of records, kept peaks, environments and drawn weights are made of them."""

import os
from pathlib import Path
from typing import Any

import pytest

from mtbench import plain
from mtbench.machine import description
from mtbench.operators.base import Shape
from mtbench.plan.jobs import Arm, Task, job

SOFTMAX = Task("softmax", (("embed_dim", 64),), "float32", Shape(2, 8))
PEAKS = {"framework": "torch", "dtype": "float32", "method": 1, "cpus": [0, 1], "library": {"blas": None}}


@pytest.mark.parametrize(
    ("content", "digits", "expected"),
    [
        (["mlx==0.31.0", "numpy>=2"], 10, "afb4b439b5"),  # an environment
        (PEAKS, 16, "abf3f8c7133b2ec1"),
        ({"requirement": "mlx<1"}, 6, "c8c50a"),
    ],
)
def test_plain_values_have_the_fingerprints_of_earlier_versions(content: Any, digits: int, expected: str) -> None:
    assert plain.fingerprint(content, digits) == expected


def test_the_order_of_names_does_not_count_and_that_of_values_does() -> None:
    assert plain.fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == plain.fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert plain.fingerprint([1, 2]) != plain.fingerprint([2, 1])


def test_bytes_have_the_sum_that_sha256sum_prints() -> None:
    assert plain.fingerprint_of_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_job_and_its_folder_are_named_as_before() -> None:
    arm = Arm("torch", mode="compiled", python="/opt/python")
    made = job(SOFTMAX, arm, 1e-5)
    assert (made.cell.id, made.id) == ("ece4fcb49b", "4998cc4906")
    assert made.folder.as_posix() == "softmax/torch_compiled-python-ce1e8c/float32/b2_s8-4998cc4906"


def test_a_machine_is_named_as_before() -> None:
    described = {"chip": "Apple M4", "cores": {"physical": 10}, "memory_bytes": 16 * 2**30 - 5, "os": "macOS"}
    assert description.identity({**described, "gpus": [{"name": "Ä GPU"}]}) == "741b4150c9"


def test_drawn_weights_are_found_where_an_earlier_version_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtbench.language_models.checkpoint import drawn

    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    made = drawn({"model_type": "llama", "b": 1.5}, {"a": ((2, 3), 0.0, 0.5)}, 7)
    assert made.folder.name == "llama-2a76c795bd739812"
