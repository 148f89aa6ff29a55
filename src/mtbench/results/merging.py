"""Many records in one file: what is in several folders, as one Parquet file that every command reads like a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtbench.errors import ConfigError
from mtbench.paths import write_atomically
from mtbench.results import record
from mtbench.results.files import exists

AT_ONCE = 500
"""Files read together. More take more memory, fewer more time."""

IDENTITY = ("sweep_id", "job_id", "machine_id", "finished_at")
"""Rows that are alike in these are one record, such as that of a folder and of a file that was merged from it."""


@dataclass(frozen=True)
class Merged:
    """What came of it: records written, records that were there more than once, and a line for each file left out."""

    records: int
    doubles: int
    problems: list[str]


def merge(sources: Sequence[Path], out: Path, machine_id: str | None = None) -> Merged:
    """Writes the records below `sources`, which are folders or merged files, to the file `out`, all or nothing; those of one
    machine where it is given.

    Raises ConfigError where a source does not exist, none holds a record, or `out` cannot be written.
    """
    import polars as pl

    for source in sources:
        if not exists(source):
            raise ConfigError(f"There is no folder {source}.")
    frames, problems = [], []
    files = [file for file in record.find(sources) if file != out.resolve()]
    for start in range(0, len(files), AT_ONCE):
        frame, unreadable = record.read(files[start : start + AT_ONCE])
        kept = frame if machine_id is None else frame.filter(pl.col("machine_id").fill_null("") == machine_id)
        frames.append(kept.drop("path"))
        problems += unreadable
    found = pl.concat(frames) if frames else pl.DataFrame()
    if found.is_empty():
        where = ", ".join(map(str, sources))
        raise ConfigError(f"No readable record under {where}" + (f": {problems[0]}." if problems else "."))
    once = found.unique(IDENTITY, keep="first", maintain_order=True)
    try:
        write_atomically(out, lambda file: once.write_parquet(file, compression="zstd"))
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); give another --out.") from error
    return Merged(once.height, found.height - once.height, problems)
