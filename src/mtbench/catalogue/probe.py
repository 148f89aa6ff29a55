"""Tries a user's own Python file in a process of its own, with a time limit, before the controller loads it: one that hangs,
exits, raises or answers nonsense costs one line, and not the sweep.

Of an operator, everything is asked that the controller will ask, for each task.
"""

import json
import math
import os
import re
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mtbench.catalogue import registry
from mtbench.errors import ConfigError, meant
from mtbench.frameworks import base as frameworks
from mtbench.operators import base as operators
from mtbench.operators.base import Shape

TIMEOUT_S = 60.0
"""For the import, and again for each task."""

SOUND = "sound"

TRACEBACK = "MTBENCH_TRACEBACK"
"""The environment variable that asks for the whole traceback of what a user's file raised, before the line that says it."""

PACKAGES = ("numpy", "scipy", "torch", "mlx", "jax", "mtbench")

LARGEST_TRIED = 1 << 26
"""Bytes of inputs, in float64, that are drawn to be looked at; what is larger is looked at by the worker, which needs it."""


class Probe:
    """A process that has loaded a file. Raises ConfigError where it could not."""

    def __init__(self, file: str, group: str, timeout_s: float = TIMEOUT_S) -> None:
        self.file = file
        self.timeout_s = timeout_s
        reading, theirs = os.pipe()
        command = [sys.executable, "-P", "-m", "mtbench.catalogue.probe", file, group, str(theirs)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(TRACEBACK) else subprocess.DEVNULL,
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        self._reading = reading
        self._expect_sound("is imported")

    def try_task(self, params: dict[str, Any], sizes: list[int | None], dtype: str) -> None:
        """Makes the operator of a task and asks what it will be asked. Raises ConfigError where an answer cannot be."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([params, sizes, dtype]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended, which the answer shows
        self._expect_sound("is asked what it needs")

    def _expect_sound(self, doing: str) -> None:
        said = self._line()
        if said == SOUND:
            return
        if said is None:
            self._process.kill()
            self._process.wait()
            raise ConfigError(f"{self.file} was stopped: it takes more than {self.timeout_s:g} s when it {doing}.")
        if said == "":
            raise ConfigError(f"{self.file} ends Python (code {self._process.wait()}) when it {doing}.")
        raise ConfigError(json.loads(said))

    def _line(self) -> str | None:
        """The next line; nothing where the process ended, None where it takes too long."""
        deadline, data = time.monotonic() + self.timeout_s, b""
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                return None
            more = os.read(self._reading, 65536)
            if not more:
                return ""
            data += more
        return data.decode().strip()


@cache
def of(file: str, group: str) -> Probe:
    """The probe of a file, which is loaded once. It ends with us, whose end of its pipe closes. Raises ConfigError."""
    return Probe(file, group)


@cache
def try_task(file: str, params: str, sizes: tuple[int | None, ...], dtype: str) -> None:
    """Tries a task of a user's operator, each once; `params` in JSON. Raises ConfigError."""
    of(file, "operator").try_task(json.loads(params), list(sizes), dtype)


def main(file: str, group: str, answers: str) -> None:

    def told(call: Any) -> str:
        try:
            call()
        except ConfigError as error:
            return json.dumps(str(error))
        except BaseException as error:
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
            return json.dumps(_said(error, file))
        return SOUND

    def answer(text: str) -> None:
        os.write(int(answers), text.encode() + b"\n")

    answer(told(lambda: registry.load(group, Path(file).stem, file)))
    for line in sys.stdin.buffer:
        answer(told(lambda line=line: _ask(file, registry.load(group, Path(file).stem, file), *json.loads(line))))


def _said(error: BaseException, file: str) -> str:
    """The error, its place in the file, and what may have been meant, in one line."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}, line {error.lineno}: {error.msg}."
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f", line {lines[-1]}" if lines else ""
    words = (str(error).splitlines() or [""])[0].encode("utf-8", "backslashreplace").decode()
    return f"{file}{where}: {type(error).__name__}: {words}{_remedy(error)}"


def _remedy(error: BaseException) -> str:
    """What may have been meant by a name that is not there, and what a class lacks."""
    if isinstance(error, ModuleNotFoundError):
        near = meant(str(error.name), PACKAGES)
    elif isinstance(error, ImportError):
        source = sys.modules.get(str(error.name))
        near = meant(_quoted(str(error)), [] if source is None else _public(source))
    elif isinstance(error, NameError):
        near = meant(str(error.name), [*_public(operators), *_public(frameworks)])
    elif isinstance(error, TypeError) and "non-frozen dataclass" in str(error):
        return "; write @dataclass(frozen=True)"
    else:
        return ""
    return f"; did you mean {near[0]}?" if near else ""


def _quoted(text: str) -> str:
    """The first name that stands in quotes."""
    return next(iter(re.findall(r"'([^']*)'", text)), "")


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def _ask(file: str, operator: Any, params: dict[str, Any], sizes: list[int | None], dtype: str) -> None:
    """Raises an error if an operator cannot be made of these parameters, or gives an impossible answer."""
    import numpy as np  # here, since the process that starts probes needs neither

    from mtbench.operators._inputs import sound_inputs

    problem, shape = operator.from_params(params), Shape(*sizes)  # type: ignore[arg-type]
    problem.check(shape)
    if _finite(problem.host_bytes(shape)) and problem.host_bytes(shape) <= LARGEST_TRIED:
        sound_inputs(f"{file}: {operator.__name__}", problem.inputs(np.random.default_rng(0), shape))
    for name, number in _numbers(problem, shape, dtype):
        if name == "flops" and number is None:  # not counted
            continue
        whole = name == "tokens"
        if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
            raise ConfigError(f"{file}: {operator.__name__}.{name} gives {number!r:.40}, and not a number.")
        if not (0 < number < 1 << 62 if whole else math.isfinite(number) and number >= 0):
            raise ConfigError(f"{file}: {operator.__name__}.{name} gives {number!r:.40}, which cannot be.")


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _numbers(problem: Any, shape: Any, dtype: str) -> Iterator[tuple[str, Any]]:
    yield "flops", problem.flops(shape)
    yield "bytes_moved", problem.bytes_moved(shape, dtype)
    yield "host_bytes", problem.host_bytes(shape)
    yield "weight_bytes", problem.weight_bytes(dtype)
    yield "reference_bytes", problem.reference_bytes(shape)
    yield "tokens", problem.tokens(shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
