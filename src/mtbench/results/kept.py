"""The rows of many small files, kept in the cache folder as one: to read a file of a hundred columns takes a millisecond.

They are trusted only where each file is the one that was read: by its path, inode, size and time of its last change.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench import paths, plain

if TYPE_CHECKING:
    import polars as pl

FEWEST = 100
"""Fewer files are read as fast as they are looked up."""

SETTLED_S = 2.0
"""A file that changed so shortly before it was read may change again within one tick of the file system's clock."""

MOST_BYTES = 1 << 30
"""The most bytes that are kept; the files that were not used for longest are removed first."""


_NO_CACHE = (OSError, RuntimeError)
"""Where there is no such folder, or not even a home that it would be in."""


def load(files: Sequence[tuple[Path, os.stat_result]], schema: Mapping[str, Any]) -> "pl.DataFrame | None":
    """The rows of these files as `keep` was given them; None where that was never, or a file has changed since."""
    import polars as pl

    if len(files) < FEWEST:
        return None
    try:
        file = _file(files, schema)
        found = pl.read_parquet(file, glob=False)
        os.utime(file)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, *_NO_CACHE):
        return None
    return found if dict(found.schema) == {**schema, "path": pl.String} else None


def keep(rows: "pl.DataFrame", files: Sequence[tuple[Path, os.stat_result]], schema: Mapping[str, Any]) -> None:
    """Keeps the rows of these files, where these are many, and none has just been written. It is no error if that fails."""
    newest = max((known.st_mtime for _, known in files), default=0.0)
    if len(files) < FEWEST or newest > time.time() - SETTLED_S:
        return
    with suppress(*_NO_CACHE):
        file = _file(files, schema)
        paths.write_atomically(file, lambda content: rows.write_parquet(content, compression="zstd", statistics=False))
        make_room(file.parent)


def _file(files: Sequence[tuple[Path, os.stat_result]], schema: Mapping[str, Any]) -> Path:
    identity = [(str(path), known.st_ino, known.st_size, known.st_mtime_ns) for path, known in files]
    columns = {name: str(kind) for name, kind in schema.items()}
    return paths.cache() / "records" / f"{plain.fingerprint([columns, identity], 32)}.parquet"


def make_room(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Removes what was not used for longest, until the rest is no larger."""
    known = [(file.stat(), file) for file in folder.glob("*.parquet")]
    total = 0
    for about, file in sorted(known, key=lambda one: -one[0].st_mtime):
        total += about.st_size
        if total > most_bytes:
            file.unlink(missing_ok=True)
