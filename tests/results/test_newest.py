"""Which records are drawn of more than a report can show: the last visit to each cell first, and whole visits alone."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from mtbench.report import tables
from mtbench.results import newest, record
from record_builder import START, Grid, write_grid

CELLS, ARMS, SWEEPS = 6, 2, 3


def merged(file: Path) -> Path:
    """Sweeps of the same cells, the newest first in the file; the last cell is measured in the oldest alone."""
    rows = [
        {
            "machine_id": "m",
            "sweep_id": f"s{sweep}",
            "cell_id": f"c{cell}",
            "finished_at": START + timedelta(days=sweep),
        }
        for sweep in reversed(range(SWEEPS))
        for cell in range(CELLS)
        for _ in range(ARMS)
        if cell < CELLS - 1 or sweep == 0
    ]
    pl.DataFrame(rows, schema_overrides={"finished_at": pl.Datetime("us", "UTC")}).write_parquet(file)
    return file


def visits(file: Path, most: int) -> list[tuple[str, str]]:
    found = newest.chosen([file], most, large_bytes=0)
    frame = pl.read_parquet(file)
    rows = found.rows[file]
    assert rows == sorted(rows)
    assert found.left_out == frame.height - len(rows)
    kept = frame[rows].group_by("sweep_id", "cell_id", maintain_order=True).len()
    assert set(kept["len"]) == {ARMS}  # no visit is cut
    return list(kept.select("sweep_id", "cell_id").iter_rows())


def test_few_records_are_all_drawn(tmp_path: Path) -> None:
    file = merged(tmp_path / "all.parquet")
    rows = pl.read_parquet(file).height
    assert newest.chosen([file], rows, large_bytes=0) == newest.Chosen([file])
    assert newest.chosen([], 1) == newest.Chosen([])


def test_the_last_visit_to_each_cell_comes_before_any_earlier_one(tmp_path: Path) -> None:
    file = merged(tmp_path / "all.parquet")
    last = [("s2", f"c{cell}") for cell in range(CELLS - 1)]
    assert visits(file, ARMS * CELLS) == [*last, ("s0", f"c{CELLS - 1}")]
    before = [("s1", f"c{cell}") for cell in range(CELLS - 1)]
    assert visits(file, ARMS * (2 * CELLS - 1)) == [*last, *before, ("s0", f"c{CELLS - 1}")]
    assert visits(file, 5) == last[:2]  # the fifth would be half a visit


def test_a_report_of_more_says_how_many_it_left_out(tmp_path: Path) -> None:
    grid = Grid(
        operators=("softmax",), arms=("torch", "mlx"), dtypes=("float32",), batch_sizes=(1,), seq_lens=(64, 128)
    )
    for day, sweep in enumerate(("old", "new")):
        write_grid(tmp_path / sweep, grid, sweep_id=sweep, finished_at=START + timedelta(days=day))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / record.FILE_NAME).write_bytes(b"PAR1 and then the disk was full")
    read = tables.load([tmp_path], most=5)
    assert set(read.records["sweep_id"]) == {"new"}
    assert read.records.height == read.left_out == 4
    assert len(read.problems) == 1
    assert tables.load([tmp_path]).left_out == 0
