"""One run at a time in a sweep's folder, by a file lock. The system frees it when its holder ends, also by a crash."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtbench.errors import ConfigError

FILE = "running.lock"

LOOKS_S = 0.1


@contextmanager
def claimed(folder: Path, file: str = FILE, patience_s: float = 0.0) -> Iterator[None]:
    """Keeps other processes from measuring into this folder. Raises ConfigError where another process still does after
    `patience_s`.

    Checks nothing on a file system without locks or in a folder that cannot be written: the next write there says what is
    wrong.
    """
    held = _lock(folder / file, time.monotonic() + patience_s)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):
                (folder / file).unlink()  # while it is held: see _is
            os.close(held)


def _lock(file: Path, until: float) -> int | None:
    """A descriptor that holds the lock; None where there are no locks."""
    while True:
        try:
            held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(held, 20, 0).decode(errors="replace").strip()
            os.close(held)
            if time.monotonic() >= until:
                who = f"process {holder}" if holder.isdecimal() else "another process"
                raise ConfigError(
                    f"{file.parent}: {who} already measures into this folder; wait until that process has ended, or end it."
                ) from None
            time.sleep(LOOKS_S)
            continue
        except OSError:
            os.close(held)
            return None
        if _is(held, file):
            with suppress(OSError):  # a full disk
                os.truncate(held, 0)
                os.pwrite(held, str(os.getpid()).encode(), 0)
            return held
        os.close(held)


def _is(held: int, file: Path) -> bool:
    """Whether this is still the file of that name: its last holder removes it."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(held), file.stat())
    return False
