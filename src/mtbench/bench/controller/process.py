"""A worker process as the controller sees it: started, asked, and ended, whatever state it is in."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from mtbench.bench.channel import Channel, Closed, Garbled, TimedOut
from mtbench.bench.controller import environments
from mtbench.bench.failures import aborted_for_memory
from mtbench.bench.wire import Refused, Request

# A waiting worker must not spin for long while another is timed: after a product, the threads of OpenMP's runtimes (torch's)
# did for 8 ms, and OpenBLAS's (NumPy's) for 100 ms, as measured on two cores. But not at all is worse: waking a thread for
# every call made a small product 15 times slower (OMP_WAIT_POLICY=passive: 134 instead of 8.5 µs) and ten times noisier.
# With these, speed is that of the defaults and idling costs 0.4 to 1 ms. OPENBLAS_THREAD_TIMEOUT=20 is 2^20 cycles;
# KMP_BLOCKTIME is in ms, for LLVM's and Intel's runtimes (macOS).
QUIET = {
    "GOMP_SPINCOUNT": "10000",
    "KMP_BLOCKTIME": "1",
    "OPENBLAS_THREAD_TIMEOUT": "20",
    "PYTHONUNBUFFERED": "1",
}

LOG_TAIL_BYTES = 2000

LOOKS_S = 1.0
"""Between two looks whether a worker that does not answer is alive."""

PACKAGE = Path(__file__).resolve().parents[2]

WORKER = "mtbench.bench.worker"

LAUNCH = """\
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("mtbench", sys.argv.pop(1))
sys.modules["mtbench"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["mtbench"])
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""Runs a module of mtbench where mtbench is not on the path. Its folder's parent must not be put there: it may be the
site-packages of the interpreter that runs us, with other versions of everything."""


A = TypeVar("A")


class Died(Exception):
    """The worker ended or was ended; `status` is one of mtbench.results.record (crashed, oom, timeout)."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Process:
    """One worker process, in a process group of its own so that it can be ended with all that it started.

    `python` is the interpreter to run it under, ours where None; `module` what it runs there, one that serves a worker.
    `waiting_s` is where the time spent waiting for answers is added up, by request. Raises Died where it cannot be started.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        python: str | None = None,
        module: str = WORKER,
        waiting_s: MutableMapping[str, float] | None = None,
    ) -> None:
        self._waiting_s = {} if waiting_s is None else waiting_s
        worker_reads, we_write = os.pipe()
        we_read, worker_writes = os.pipe()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        command, variables = _under_ours(module) if python is None else _under_another(python, module)
        try:
            with _deaf_to_term():
                self._process = subprocess.Popen(
                    [*command, str(worker_reads), str(worker_writes)],
                    pass_fds=(worker_reads, worker_writes),
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    env={**variables, **QUIET, **(environment or {})},
                    start_new_session=True,
                )
        except OSError as error:
            os.close(we_read)
            os.close(we_write)
            self._log.close()
            raise Died("failed", f"the worker could not be started: {error.strerror}") from error
        finally:
            os.close(worker_reads)
            os.close(worker_writes)
        self._channel = Channel(we_read, we_write)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Request[A], timeout_s: float) -> A | Refused:
        """Sends a request and waits for its answer. Raises Died, after which the process is gone."""
        self.tell(request)
        return self.answer(request, timeout_s)

    def tell(self, request: Request[Any]) -> None:
        """Sends a request whose answer is fetched later, so that several workers can start at once. Raises Died."""
        try:
            self._channel.ask(request)
        except Closed:
            raise self._died() from None

    def answer(self, request: Request[A], timeout_s: float) -> A | Refused:
        """The answer to the last request. Raises Died."""
        started = time.monotonic()
        try:
            return self._read(request, started + timeout_s)
        except TimedOut:
            self.end()
            raise Died(
                "timeout", f"the worker did not answer within {timeout_s:g} s (protocol.timeout_s) and was killed"
            ) from None
        except Garbled as error:
            self.end()
            raise Died(
                "crashed", f"another program wrote into the worker's pipe: {error}; the worker was killed"
            ) from None
        except Closed:
            raise self._died() from None
        finally:
            self._waiting_s[request.do] = self._waiting_s.get(request.do, 0.0) + time.monotonic() - started

    def _read(self, request: Request[A], deadline: float) -> A | Refused:
        """The answer. A worker that forked and ended leaves its pipe open, so the process itself is checked too. Raises Closed,
        TimedOut or Garbled."""
        while True:
            try:
                return self._channel.read_answer(request, max(0.0, min(LOOKS_S, deadline - time.monotonic())))
            except TimedOut:
                if self._process.poll() is not None:
                    raise Closed from None
                if time.monotonic() >= deadline:
                    raise

    def end(self) -> None:
        """Kills the worker and whatever it started; safe to call again."""
        strays = _descendants(self._process.pid) if self._process.poll() is None else []
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
            self._process.kill()
        self._process.wait()
        for stray in strays:  # also those in a process group of their own
            with suppress(Exception):  # it may have ended since
                stray.kill()
        if not self._log.closed:
            self._channel.close()
            self._log.close()

    def _died(self) -> Died:
        """Says how the process ended, with the last of what it printed."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        printed = self._log_tail()
        self.end()
        if code is None:
            ending = "closed its pipe without ending"
        elif code < 0:
            ending = f"was ended by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                ending += " (which is also how the system ends a process when memory runs out)"
        else:
            ending = f"exited with code {code}"
        said = f"the worker {ending}" + (f"; it printed last:\n{printed}" if printed else "")
        # MLX up to 0.31 aborts where a command buffer of Metal fails, and Metal says why before.
        if code is not None and (shortage := aborted_for_memory(printed)) is not None:
            return Died("oom", f"memory ran out ({shortage}): {said}")
        return Died("crashed", said)

    def _log_tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()


@contextmanager
def _deaf_to_term() -> Iterator[None]:
    """What is started here never hears SIGTERM. A system that shuts down, or a cluster that takes a machine back, sends it to
    all processes at once, and a worker that dies of it before we hear of it would count as crashed. We end it ourselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _descendants(pid: int) -> list[Any]:
    """All descendants of a process, except those whose parent has ended. The process is stopped first, so that it starts no
    more."""
    import psutil

    try:
        os.kill(pid, signal.SIGSTOP)
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):
        return []


def _under_ours(module: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment variables for a worker under our own interpreter."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))
    return [sys.executable, "-P", "-m", module], {**os.environ, "PYTHONPATH": path}


def _under_another(python: str, module: str) -> tuple[list[str], dict[str, str]]:
    """The same for another interpreter, which sees mtbench but none of the packages installed beside it."""
    return [python, "-P", "-c", LAUNCH, str(PACKAGE / "__init__.py"), module], environments.variables()
