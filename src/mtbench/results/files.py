"""Where records are: files below folders, found also behind links, how they are written, and what cannot be read at all."""

import os
import signal
import stat
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

FILE_NAME = "record.parquet"


def find(sources: Iterable[Path]) -> list[Path]:
    """All record files below these folders, also behind links, sorted, each once; a source that is a file is one itself.

    A folder that cannot be listed is among them, so that `read` says so.
    """
    found: set[Path] = set()
    for source in sources:
        if not source.is_dir():
            found.add(source.resolve())
            continue
        seen: set[str] = set()  # a link may lead back up
        for folder, below, files in os.walk(source, followlinks=True, onerror=lambda e: found.add(Path(e.filename))):
            real = os.path.realpath(folder)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            if FILE_NAME in files:
                found.add(Path(real, FILE_NAME).resolve())
    return sorted(found)


def parquet(columns: "Mapping[str, Sequence[Any]]", schema: "Mapping[str, Any]") -> bytes:
    """Rows as Parquet, in memory, so that what the file system says is an OSError, and not Polars's error.

    Polars takes a Ctrl-C for itself, whoever handles it, and raises KeyboardInterrupt: it is handed on, and where the handler
    holds it back, this goes on."""
    import polars as pl

    while True:
        content = BytesIO()
        try:
            pl.DataFrame(columns, schema=dict(schema), strict=True).write_parquet(content, compression="zstd")
            return content.getvalue()
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)


def scan(paths: Iterable[Path], schema: "Mapping[str, Any]") -> "tuple[pl.DataFrame, list[str]]":
    """The rows of Parquet files in the columns of a schema and `path`, and a line for each file that cannot be read.

    Columns that a file lacks are null, others that it has are left out. A broken file does not cost the others.
    """
    import polars as pl

    good, problems = [], []
    for path in paths:
        if (unfit := _unfit(path)) is None:  # Polars would wait for a pipe for ever
            good.append(path)
        else:
            problems.append(f"{path}: left out, {unfit}")

    def read(sources: list[Path]) -> pl.DataFrame:
        return pl.scan_parquet(
            sources,
            schema=dict(schema),
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
            include_file_paths="path",
            glob=False,  # a folder may be called run[1]
        ).collect()

    nothing = pl.DataFrame(schema={**schema, "path": pl.String})
    # Of flipped bytes Polars may also panic, which is no PolarsError.
    broken = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
    try:
        return (read(good) if good else nothing), problems
    except broken:
        frames = [nothing]
        for path in good:
            try:
                frames.append(read([path]))
            except broken as error:
                first = next(iter(str(error).splitlines()), type(error).__name__)
                problems.append(f"{path}: left out, not a readable record ({first[:200]})")
        return pl.concat(frames), problems


def _unfit(path: Path) -> str | None:
    """Why this path cannot be read as a file; None if it can."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return None if os.access(path, os.R_OK) else "it cannot be read (permission denied)"
        listed = path.is_dir() and os.access(path, os.R_OK | os.X_OK)
        return "a folder that cannot be listed" if path.is_dir() and not listed else "not a file"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
