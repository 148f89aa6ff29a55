"""Ctrl-C, `kill` and a closed terminal: one handler for all, from the program's first line on.

The first signal raises Interrupted, a KeyboardInterrupt, where the program is, or behind what must not be interrupted
(`held`). What follows it in the next seconds is the same wish again, and would only cut the tidying short. Later ones end the
program at once: records are whole at any moment, and workers end with their controller.

This needs the standard library's smallest parts alone, since it is loaded before everything else.
"""

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit codes, which are a shell's for a program that a signal ended: 128 and its number."""

IMPATIENT_S = 5.0
"""From this long after the first signal on, a further one ends the program at once. Tidying takes up to two."""

_first: signal.Signals | None = None
_first_at = 0.0
_holding = 0
_pending = False


class Interrupted(KeyboardInterrupt):
    """A signal came. A plain KeyboardInterrupt that passes through `exec` of a text, as where a dataclass is made, would have
    Python end by SIGINT in the end, even if it was caught and another code was asked for."""


def install() -> None:
    """Takes the three signals over. One that is ignored stays so: nohup ignores SIGHUP, a shell a background job's SIGINT."""
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def done() -> None:
    """The program has said its last word; a signal while Python shuts down would only add a traceback."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)


def exit_code() -> int | None:
    """That of the first signal; None where there was none."""
    return None if _first is None else CODES[_first]


def check() -> None:
    """Raises KeyboardInterrupt where a signal came: a library, or an object that was just being freed, may have caught the
    first one."""
    if _first is not None and not _holding:
        raise Interrupted


@contextmanager
def held() -> Iterator[None]:
    """Holds a signal back until the end of this block, which is short. Raises KeyboardInterrupt there."""
    global _holding, _pending
    _holding += 1
    try:
        yield
    finally:
        _holding -= 1
    if _pending and not _holding:
        _pending = False
        raise Interrupted


def _handle(number: int, frame: object) -> None:
    global _first, _first_at, _pending
    if number == signal.SIGHUP:
        _write_nowhere()
    if _first is not None:
        if time.monotonic() - _first_at > IMPATIENT_S:
            os._exit(CODES[_first])
        return
    _first, _first_at = signal.Signals(number), time.monotonic()
    if _holding:
        _pending = True
        return
    raise Interrupted


def _write_nowhere() -> None:
    """What is still to be said has nobody to read it, and writing to a terminal that is gone would be an error, before all
    records are kept."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        with suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(output).st_mode):  # isatty denies it of a terminal that is gone
                os.dup2(nowhere, output)
    os.close(nowhere)
