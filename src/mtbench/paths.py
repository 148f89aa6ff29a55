"""The folders that mtbench uses, and atomic writes of files and folders."""

import fcntl
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""How the names of what is still being written end."""


def conf() -> Path:
    """The configuration folder: the one in the wheel, or the repository's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def cache() -> Path:
    """What may be deleted and is made anew: below $XDG_CACHE_HOME, else ~/Library/Caches on macOS and ~/.cache elsewhere."""
    usual = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or usual).absolute() / "mtbench"


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Writes a file, in a folder that is made if need be: a reader sees the old file or the new one, never half.

    `content` is bytes, text for UTF-8, or a function that writes into the open file. Raises OSError, and whatever that
    function raises; the old file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary, descriptor = _locked(path, lambda new: os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with os.fdopen(descriptor, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)  # while it is locked: nobody takes it for abandoned
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """An empty folder beside another, to write into and to rename or move from; it is removed on leaving."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)

    def make(new: Path) -> int:
        new.mkdir()
        return os.open(new, os.O_RDONLY)

    temporary, descriptor = _locked(folder, make)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def _locked(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """A new file or folder beside `path`, locked. The system releases the lock when the process ends, however it ends."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        descriptor = make(temporary)
        with suppress(OSError):  # a file system without locks: then nothing there is ever taken for abandoned
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink > 0 and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # another process removed it between the two lines above


def _remove_abandoned(path: Path) -> None:
    """Removes what killed processes left of this file or folder: partial ones whose lock nobody holds."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(descriptor)
