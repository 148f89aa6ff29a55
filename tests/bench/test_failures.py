"""Failures under their right names: the libraries' own words, as their sources have them, and what a record calls them."""

import pytest

from mtbench.bench import failures
from mtbench.bench.controller.process import Died, Process
from mtbench.bench.wire import TimeFloor
from mtbench.errors import Unsupported

MLX_ABORT = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution failed: "
    "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "oom"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 6.00 GiB, max allowed: 9.07 GiB)."), "oom"),
        (RuntimeError("Invalid buffer size: 64.00 GiB"), "oom"),
        (
            RuntimeError(
                "[metal::malloc] Attempting to allocate 68719476736 bytes which is greater than the maximum allowed "
                "buffer size of 17179869184 bytes."
            ),
            "oom",
        ),
        (RuntimeError("[metal::malloc] Resource limit (499000) exceeded."), "oom"),
        (RuntimeError(MLX_ABORT), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."), "oom"),
        (RuntimeError("[malloc_or_wait] Unable to allocate 8 bytes."), "oom"),
        (RuntimeError("[metal::load_device] No Metal device available."), "unsupported"),
        (
            NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device."),
            "unsupported",
        ),
        (Unsupported("no bfloat16"), "unsupported"),
        (RuntimeError("expected scalar type Float but found Half"), "failed"),
        (RuntimeError("Resource limit of the file system"), "failed"),
    ],
)
def test_each_librarys_words_have_their_status(error: Exception, status: str) -> None:
    assert failures.status_of(error) == status


def test_a_worker_that_metal_aborted_for_memory_is_oom() -> None:
    died = _death_of(f'import os, sys; sys.stderr.write("{MLX_ABORT}\\n"); sys.stderr.flush(); os.abort()')
    assert died.status == "oom"
    assert str(died).startswith("memory ran out")
    assert "SIGABRT" in str(died)


def test_a_worker_that_was_aborted_for_something_else_crashed() -> None:
    died = _death_of("import os; os.abort()")
    assert died.status == "crashed"


def _death_of(program: str) -> Died:
    process = Process(environment={"PROGRAM": program}, module="tests_abort")
    with pytest.raises(Died) as raised:
        process.ask(TimeFloor(), 60)
    return raised.value


@pytest.fixture(autouse=True)
def module_that_runs_the_program(tmp_path, monkeypatch):
    (tmp_path / "tests_abort.py").write_text("import os\nexec(os.environ['PROGRAM'])\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
