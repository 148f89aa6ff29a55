"""A first call is timed with an empty cache of compiled code, unless it is asked for as it is."""

import os
from pathlib import Path

import pytest

from mtbench.bench.controller.job_state import JobState
from mtbench.bench.controller.process import Process
from mtbench.bench.controller.workers import Workers
from mtbench.errors import ConfigError
from mtbench.frameworks.jax import Jax
from mtbench.frameworks.torch import Torch
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol

PLAIN = str(Path(__file__).parent / "user" / "framework" / "plain.py")


def folders(misbehaving, **protocol) -> tuple[list[str | None], Workers]:
    """The folders that workers are told of when they are started twice, by two arms."""
    told: list[str | None] = []

    class Noting(Process):
        def tell(self, request) -> None:
            if request.do == "start":
                told.append(request.compiler_cache)
            super().tell(request)

    jobs = [misbehaving("well"), misbehaving("well", framework="plain", framework_file=PLAIN)]
    workers = Workers(list(map(JobState, jobs)), Protocol(**protocol), Progress(), lambda state: None, Noting)
    for _ in range(2):
        workers.start([job.arm for job in jobs])
        workers.end()
    return told, workers


def test_an_arm_has_an_empty_folder_of_its_own_for_a_sweep(misbehaving):
    told, workers = folders(misbehaving)
    assert told[:2] == told[2:]
    assert len(set(told)) == 2
    assert all(folder is not None and not list(Path(folder).iterdir()) for folder in told)
    del workers
    assert not any(Path(folder or "").exists() for folder in told)


def test_the_usual_cache_is_used_where_it_is_asked_for(misbehaving):
    assert folders(misbehaving, compiler_cache="kept")[0] == [None] * 4
    with pytest.raises(ConfigError, match=r"protocol\.compiler_cache"):
        Protocol(compiler_cache="warm")


def test_the_libraries_compilers_keep_what_they_make_there(monkeypatch, tmp_path):
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "elsewhere")
    Torch.keep_compiled_in(tmp_path)
    assert {Path(os.environ[f"{name}_CACHE_DIR"]).parent for name in ("TORCHINDUCTOR", "TRITON")} == {tmp_path}
    Jax.keep_compiled_in(tmp_path)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
