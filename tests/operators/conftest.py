"""What the operators' tests share: a compiler for MLX and torch that makes the same kernels in less time."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PREAMBLE = "mlx/backend/cpu/compiled_preamble.h"
"""What every kernel that mx.compile makes on a CPU begins with."""


@pytest.fixture(scope="session")
def quick_compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A first `g++` in PATH, where that is GCC, with which kernels are the same and nothing of it stays behind:

    - MLX's preamble precompiled: each of its kernels takes a third of the time, byte for byte the same. GCC finds a precompiled
      header before the header itself (GCC's manual, "Using Precompiled Headers").
    - No warnings, of which a kernel of torch's has a thousand lines, and gold as the linker where it is installed, which reads
      torch's libraries in a third of the time: each of torch's kernels takes a sixth less.
    """
    compiler = shutil.which("g++")
    if compiler is None or not _is_gcc(compiler):
        yield
        return
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # the first of the workers makes it for all
    wrapper = shared / "quick_compiler" / "bin" / "g++"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    with (wrapper.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wrapper.exists():
            if (headers := _headers_of_mlx()) is not None:
                _precompile(compiler, headers, wrapper)
            linker = " -fuse-ld=gold" if shutil.which("ld.gold") else ""
            wrapper.write_text(f'#!/bin/sh\nexec "{compiler}" -iquote "{wrapper.parents[1]}" "$@" -w{linker}\n')
            wrapper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)
        yield


def _headers_of_mlx() -> Path | None:
    found = find_spec("mlx")
    folders = [] if found is None else [Path(place) / "include" for place in found.submodule_search_locations or ()]
    return next((folder for folder in folders if (folder / PREAMBLE).exists()), None)


def _is_gcc(compiler: str) -> bool:
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return "Free Software Foundation" in said


def _precompile(compiler: str, headers: Path, wrapper: Path) -> None:
    """The header, compiled with the options that MLX gives its kernels, where the wrapper looks for it first."""
    target = wrapper.parents[1] / f"{PREAMBLE}.gch"
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ["-std=c++17", "-O3", "-Wall", "-fPIC", "-I", str(headers), "-x", "c++-header"]
    subprocess.run([compiler, *options, str(headers / PREAMBLE), "-o", str(target)], capture_output=True, check=True)
