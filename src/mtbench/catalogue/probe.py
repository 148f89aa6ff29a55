"""Tries a user's own Python file in a process of its own, with a time limit, before the controller loads it: one that hangs,
exits, raises or answers nonsense costs one line, and not the sweep.

Of an operator, everything is asked that the controller will ask, for each task.
"""

import json
import math
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError

TIMEOUT_S = 60.0
"""For the import, and again for each task."""

SOUND = "sound"


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
            stderr=subprocess.DEVNULL,
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
    from mtbench.catalogue import registry

    def told(call: Any) -> str:
        try:
            call()
        except ConfigError as error:
            return json.dumps(str(error))
        except BaseException as error:
            return json.dumps(_said(error, file))
        return SOUND

    def answer(text: str) -> None:
        os.write(int(answers), text.encode() + b"\n")

    answer(told(lambda: registry.load(group, Path(file).stem, file)))
    for line in sys.stdin.buffer:
        answer(told(lambda line=line: _ask(registry.load(group, Path(file).stem, file), *json.loads(line))))


def _said(error: BaseException, file: str) -> str:
    """The error and its place in the file, in one line."""
    if isinstance(error, SyntaxError):
        return f"{file}, line {error.lineno}: {error.msg}."
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f", line {lines[-1]}" if lines else ""
    words = (str(error).splitlines() or [""])[0].encode("utf-8", "backslashreplace").decode()
    return f"{file}{where}: {type(error).__name__}: {words}"


def _ask(operator: Any, params: dict[str, Any], sizes: list[int | None], dtype: str) -> None:
    """Raises an error if an operator cannot be made of these parameters, or gives an impossible answer."""
    from mtbench.operators.base import Shape

    problem, shape = operator.from_params(params), Shape(*sizes)  # type: ignore[arg-type]
    problem.check(shape)
    for name, number in _numbers(problem, shape, dtype):
        whole = name == "tokens"
        if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
            raise ConfigError(f"{operator.__name__}.{name} gives {number!r:.40}, and not a number.")
        if not (0 < number < 1 << 62 if whole else math.isfinite(number) and number >= 0):
            raise ConfigError(f"{operator.__name__}.{name} gives {number!r:.40}, which cannot be.")


def _numbers(problem: Any, shape: Any, dtype: str) -> Iterator[tuple[str, Any]]:
    yield "flops", problem.flops(shape)
    yield "bytes_moved", problem.bytes_moved(shape, dtype)
    yield "host_bytes", problem.host_bytes(shape)
    yield "weight_bytes", problem.weight_bytes(dtype)
    yield "reference_bytes", problem.reference_bytes(shape)
    yield "tokens", problem.tokens(shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
