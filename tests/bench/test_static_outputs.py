"""CUDA graphs write their results into the same memory in each call: that is no old answer."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Mismatch
from mtbench.bench.worker.integrity import check_fresh


@pytest.mark.parametrize("static", [False, True])
def test_a_buffer_that_each_call_writes_into_is_a_result_where_outputs_are_static(static: bool) -> None:
    kept, given = object(), object()
    framework: Any = SimpleNamespace(
        static_outputs=static, leaves=lambda out: [out], same=lambda one, other: one is other
    )

    def check(call: Any) -> None:
        check_fresh(framework, Subject(call, [[given]], lambda out: None, lambda out: None, lambda: 0))

    with nullcontext() if static else pytest.raises(Mismatch, match="existed before"):
        check(lambda x: kept)
    with pytest.raises(Mismatch, match="existed before"):
        check(lambda x: x)
    check(lambda x: object())
