"""Which records are drawn where there are more than anyone reads: of every cell the newest visit before any earlier one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtbench.results.files import scan

MOST = 20_000
"""Records in one report. A page of a hundred megabytes answers nobody."""

MAY_HOLD_MANY_BYTES = 1 << 20
"""Nearly all files of one record are smaller."""

VISIT = ("machine_id", "sweep_id", "cell_id")
"""What the arms of a cell share that were measured together."""


@dataclass(frozen=True)
class Chosen:
    """The records to draw: those of `files`, and of each file that holds many the `rows` of these numbers. `left_out` counts
    the others; `problems` has a line for each file that cannot be read."""

    files: list[Path]
    rows: dict[Path, list[int]] = field(default_factory=dict)
    left_out: int = 0
    problems: list[str] = field(default_factory=list)


def chosen(files: Sequence[Path], most: int = MOST, large_bytes: int = MAY_HOLD_MANY_BYTES) -> Chosen:
    """The records to draw: all where there are no more than `most`, else whole visits to cells, the last visit to each cell
    first, and of these the newest first. Only what decides that is read. Files of up to `large_bytes` count as one record."""
    counts = {file: _count(file) for file in files if _size(file) > large_bytes}
    if sum(counts.values()) + len(files) - len(counts) <= most:
        return Chosen(list(files))

    import polars as pl

    known, problems = scan(files, {**dict.fromkeys(VISIT, pl.String), "finished_at": pl.Datetime("us", "UTC")})
    known = known.with_columns(number=pl.int_range(pl.len()).over("path"), of=pl.len().over("path"))
    visits = known.group_by(VISIT, maintain_order=True).agg(pl.len(), pl.col("finished_at").max())
    finished = pl.col("finished_at").fill_null(pl.datetime(1970, 1, 1, time_zone="UTC"))
    later = finished.rank("ordinal", descending=True).over("machine_id", "cell_id")
    ordered = visits.sort(later, finished, descending=[False, True], maintain_order=True)
    drawn = ordered.filter((pl.col("len").cum_sum() <= most) | (pl.int_range(pl.len()) == 0))
    rows = known.join(drawn, on=VISIT, how="semi", nulls_equal=True, maintain_order="left")
    many = rows.filter(pl.col("of") > 1).group_by("path", maintain_order=True).agg("number")
    alone = set(rows.filter(pl.col("of") == 1)["path"])
    by_path = {Path(path): numbers for path, numbers in many.iter_rows()}
    return Chosen([file for file in files if str(file) in alone], by_path, known.height - rows.height, problems)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0


def _count(file: Path) -> int:
    import polars as pl

    try:
        return int(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return 1  # why it cannot be read is said where it is read
