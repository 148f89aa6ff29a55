"""Interpreters of arms that do not run under mtbench's own: a given one, or an environment made for one version.

An environment is made with venv and pip, once, and kept in the user's cache folder. Deleting its folder there is safe: the
next sweep that asks for it makes it anew.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mtbench import paths, plain
from mtbench.errors import Unsupported
from mtbench.machine import nvidia
from mtbench.plan.jobs import Arm
from mtbench.results.private import without_addresses, without_home

NEEDS = ("array-api-compat>=1.11", "numpy>=2", "scipy>=1.13")
"""What a worker imports beside its framework and the standard library, as in pyproject.toml."""

BESIDE = {"llama-cpp-python": ("gguf>=0.19",)}
"""What else a framework needs that its own package does not install, as in pyproject.toml's extras."""

OLDEST_PYTHON = (3, 11)

CUDA_13_DRIVER = 580
"""The oldest driver for CUDA 13 (docs.nvidia.com/cuda/cuda-toolkit-release-notes, table 2)."""

COMPLETE = "complete.json"
"""The file that a finished environment holds; one without it was given up half-way."""

SHOWN_LINES = 5  # of what pip said last
PROBE_TIMEOUT_S = 60.0

Announce = Callable[[str], None]
Run = Callable[[Sequence[str], str], str]


def interpreter(arm: Arm, announce: Announce, run: Run | None = None) -> str | None:
    """The interpreter for an arm; None for the one that runs this. `announce` is told in a line which one it is; `run` runs
    venv and pip, by default `printed_by`.

    Raises Unsupported where a worker cannot run under it, or pip cannot install what was asked for.
    """
    if arm.requirement is not None:
        return _environment(arm, arm.requirement, announce, run or printed_by)
    if arm.python is not None:
        announce(f"{arm.name} is Python {_check(arm.python)} at {arm.python}")
    return arm.python


def variables() -> dict[str, str]:
    """Our environment variables, without those by which another interpreter would find our packages before its own."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def cache_folder() -> Path:
    """Where environments are kept."""
    return paths.cache() / "environments"


def _environment(arm: Arm, requirement: str, announce: Announce, run: Run) -> str:
    folder = cache_folder() / _folder_name(requirement)
    python = folder / "bin" / "python"
    with _locked(folder.parent / f"{folder.name}.lock"):
        # The interpreter is a link, which an upgrade of the system's Python leaves pointing nowhere.
        if (folder / COMPLETE).exists() and python.exists():
            announce(f"{arm.name} runs in {folder}")
        else:
            told = without_addresses(requirement, requirement)
            announce(f"{arm.name}: installing {told} into {folder}; the next sweep finds it there")
            _make(folder, python, requirement, run)
    return str(python)


def _folder_name(requirement: str) -> str:
    """The package's name, and a fingerprint of all that decides what is in the environment."""
    decisive = [requirement, *NEEDS, sys.version, platform.machine(), *_backend_extras()]
    return f"{Requirement(requirement).name}-{plain.fingerprint(decisive, 10)}"


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Waits while another process makes this environment. The system releases the lock of a process that ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path, python: Path, requirement: str, run: Run) -> None:
    """Makes an environment at its final place, since it cannot be moved, and marks it when it is complete."""
    shutil.rmtree(folder, ignore_errors=True)
    failure = f"{requirement} cannot be installed here"
    # -I: keeps our packages off pip's path, which would take them for installed.
    pip = [str(python), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    try:
        run([sys.executable, "-m", "venv", str(folder)], failure)
        run([*pip, requirement, *NEEDS, *BESIDE.get(canonicalize_name(Requirement(requirement).name), ())], failure)
        if (backend := _backend(python, Requirement(requirement), run)) is not None:
            run([*pip, str(backend)], failure)
        installed = run([str(python), "-I", "-m", "pip", "freeze"], failure).splitlines()
        complete = json.dumps({"requirement": requirement, "installed": installed}, indent=1)
        paths.write_atomically(folder / COMPLETE, complete)
    except Unsupported as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unsupported(without_addresses(str(error), requirement)) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _backend(python: Path, requirement: Requirement, run: Run) -> Requirement | None:
    """The requirement of MLX with a backend, which it lacks on Linux, unless the user named one. Backends are named differently
    in different versions."""
    system: str = sys.platform  # compared directly, the rest is unreachable to mypy on the other system
    if system != "linux" or requirement.name.lower() != "mlx" or requirement.extras:
        return None
    program = "import importlib.metadata as m; print(*m.metadata('mlx').get_all('Provides-Extra', []))"
    offered = run([str(python), "-I", "-c", program], "MLX was not installed").split()
    fitting = next((extra for extra in _backend_extras() if extra in offered), None)
    if fitting is None:
        return None
    requirement.extras = {fitting}
    return requirement


def _backend_extras() -> tuple[str, ...]:
    """The names of MLX's backends that this machine can use, the best first."""
    majors = [str(gpu["driver"]).partition(".")[0] for gpu in nvidia.gpus()]
    if not majors:
        return ("cpu",)
    old = any(major.isdecimal() and int(major) < CUDA_13_DRIVER for major in majors)
    return ("cuda12", "cuda") if old else ("cuda13", "cuda12", "cuda")


def _check(python: str) -> str:
    """The version of an interpreter that exists. Raises Unsupported where a worker cannot run under it.

    The reason does not name the path, as it goes into records.
    """
    names = [Requirement(need).name for need in NEEDS]
    program = (
        "import json, sys\n"
        "found = {}\n"
        "if sys.version_info >= (3, 8):\n"
        "    import importlib.metadata as m\n"
        "    found = {name: d.version for name in sys.argv[1:] for d in m.distributions(name=name)}\n"
        "print(json.dumps([sys.version_info[:3], found]))\n"
    )
    try:
        answer = subprocess.run(
            [python, "-c", program, *names],
            env=variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        release, versions = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or type(error).__name__
        raise Unsupported(f"its interpreter does not start as Python 3.11 or newer: {_told(said)}") from error
    version = ".".join(map(str, release))
    if tuple(release[:2]) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise Unsupported(f"its interpreter is Python {version}; a worker needs {oldest} or newer.")
    lacking = [
        need
        for need, name in zip(NEEDS, names, strict=True)
        if name not in versions or not Requirement(need).specifier.contains(versions[name], prereleases=True)
    ]
    if lacking:
        wanted = " ".join(f"'{need}'" for need in lacking)
        raise Unsupported(
            f"its interpreter lacks what a worker needs; install it there: python -m pip install {wanted}"
        )
    return version


def _all_printed(process: "subprocess.Popen[str]") -> str:
    """What a process prints until it ends. It is polled, since Polars sets SA_RESTART: a signal then does not interrupt a
    read, and Ctrl-C would wait for pip to end."""
    while True:
        try:
            return process.communicate(timeout=0.2)[0]
        except subprocess.TimeoutExpired:
            continue


def printed_by(command: Sequence[str], failure: str) -> str:
    """What a command printed. Raises Unsupported with the last of it where it fails; leaves nothing running behind."""
    with subprocess.Popen(
        command,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed = _all_printed(process)
        except BaseException:
            with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise Unsupported(f"{failure}: {_told(printed)}")
    return printed


def _told(printed: str) -> str:
    """The errors in what a program printed, else its last lines; without the user's home, which records must not hold."""
    lines = [line.rstrip() for line in without_home(printed).splitlines() if line.strip()]
    errors = [re.sub(r"^ERROR: ", "", line) for line in lines if line.startswith("ERROR: ")]
    return "\n".join((errors or lines)[-SHOWN_LINES:])
