"""Where records are: files below folders, found also behind links, how they are written, and what cannot be read at all."""

import os
import re
import signal
import stat
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.results import kept

if TYPE_CHECKING:
    import polars as pl

FILE_NAME = "record.parquet"

SHARED_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-([0-9a-f]{10})\.parquet")
"""The name of a file that `mtbench share` packs: its date and its fingerprint."""


def load() -> None:
    """Imports what writing the first record needs, which takes a moment, at a time when nobody waits for it."""
    import polars  # noqa: F401


def exists(path: Path) -> bool:
    """Whether there is such a file or folder. False for a name that none can have, such as one that is too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def find(sources: Iterable[Path]) -> list[Path]:
    """All files of records below these folders, those of jobs and shared ones, also behind links, sorted, each once; a source
    that is a file is one itself.

    A folder that cannot be listed is among them, so that `read` says so.
    """
    found: set[str] = set()
    for source in sources:
        pending, seen = [os.path.realpath(source)], set()
        if not (exists(source) and source.is_dir()):
            found.add(pending.pop())
        while pending:
            folder = pending.pop()
            if folder in seen:  # a link may lead back up
                continue
            seen.add(folder)
            try:
                with os.scandir(folder) as listed:
                    entries = list(listed)
            except OSError:
                found.add(folder)
                continue
            for entry in entries:
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if entry.is_dir():
                    pending.append(real)
                elif entry.name == FILE_NAME or SHARED_NAME.fullmatch(entry.name):
                    found.add(real)
    return [Path(text) for text in sorted(found, key=lambda text: Path(text).parts)]


def parquet(columns: "Mapping[str, Sequence[Any]]", schema: "Mapping[str, Any]") -> bytes:
    """Rows as Parquet, in memory, so that what the file system says is an OSError, and not Polars's error.

    Without statistics, which would be a quarter of a file of a hundred columns with one value each.

    Polars catches Ctrl-C itself, whatever handler there is, and raises KeyboardInterrupt. The signal is then raised again for
    that handler; if it holds the signal back, writing goes on.
    """
    import polars as pl

    while True:
        content = BytesIO()
        try:
            pl.DataFrame(columns, schema=dict(schema), strict=True).write_parquet(
                content, compression="zstd", statistics=False
            )
            return content.getvalue()
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)


def scan(
    paths: Iterable[Path], schema: "Mapping[str, Any]", numbers: Sequence[int] | None = None
) -> "tuple[pl.DataFrame, list[str]]":
    """The rows of Parquet files in the columns of a schema and `path`, and a line for each file that cannot be read.

    Columns that a file lacks are null, others that it has are left out. A broken file does not cost the others. Where many
    files have not changed, their rows come from the cache (`kept`). `numbers` are the rows to read of a single file, in order,
    counted from 0.
    """
    import polars as pl

    good: list[tuple[Path, os.stat_result]] = []
    problems = []
    for path in paths:
        known = _fit(path)
        if isinstance(known, str):  # Polars would wait for a pipe for ever
            problems.append(f"{path}: left out, {known}")
        else:
            good.append((path, known))
    if (again := kept.load(good, schema)) is not None:
        return again, problems

    def read(sources: list[Path]) -> pl.DataFrame:
        found = pl.scan_parquet(
            sources,
            schema=dict(schema),
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            include_file_paths="path",
            glob=False,  # a folder may be called run[1]
            parallel="none" if len(sources) > 1 else "auto",  # many small files side by side: a fifth less work
        )
        if numbers is None:
            return found.collect()
        first, last = numbers[0], numbers[-1]
        return found.slice(first, last - first + 1).collect()[[number - first for number in numbers]]

    # Where bytes were flipped, Polars may also panic, which is no PolarsError.
    broken = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)

    def read_what_can_be(sources: list[Path]) -> list[pl.DataFrame]:
        """Together, which is fast; by halves where one is broken, so that it alone is left out."""
        try:
            return [read(sources)] if sources else []
        except broken as error:
            if len(sources) == 1:
                first = next(iter(str(error).splitlines()), type(error).__name__)
                problems.append(f"{sources[0]}: left out, not a readable record ({first[:200]})")
                return []
        half = len(sources) // 2
        return [*read_what_can_be(sources[:half]), *read_what_can_be(sources[half:])]

    nothing = pl.DataFrame(schema={**schema, "path": pl.String})
    unfit = len(problems)
    rows = pl.concat([nothing, *read_what_can_be([path for path, _ in good])])
    if len(problems) == unfit:
        kept.keep(rows, good, schema)
    return rows, problems


def _fit(path: Path) -> os.stat_result | str:
    """What is known of a file that can be read, or why it cannot."""
    try:
        known = path.stat()
        if stat.S_ISREG(known.st_mode):
            return known if os.access(path, os.R_OK) else "it cannot be read (permission denied)"
        listed = path.is_dir() and os.access(path, os.R_OK | os.X_OK)
        return "a folder that cannot be listed" if path.is_dir() and not listed else "not a file"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
