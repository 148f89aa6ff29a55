"""How long 10,000 records take: a benchmark to run by hand, `python tests/scale.py [RECORDS]`; nothing here is asserted.

Builds synthetic records, each in a folder of its own or all in one file (`--merged`), reads and compares them, builds the
report, and prints processor time (user and system), memory and the weight of what a reader loads first. `report, again` reads
what the first reading kept in the cache folder.
"""

import argparse
import itertools
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from mtbench import paths
from mtbench.plain import to_json
from mtbench.results import record as records
from mtbench.results.files import parquet
from mtbench.results.record import Record
from record_builder import ARMS, measured

AT_ONCE = 10_000

DTYPES = ("float32", "bfloat16")
BATCH_SIZES = (1, 2, 4, 8, 16)
SEQ_LENS = (32, 64, 128, 256, 512)

ESTIMATES = tuple(f"{metric}{end}_ns" for metric in ("latency", "throughput") for end in ("", "_low", "_high"))


def synthetic(count: int, restarts: int = 3, rounds: int = 8) -> Iterator[Record]:
    """So many records of as many operators as it takes; the samples of each arm and shape are drawn once."""
    rng = random.Random(0)
    shapes = list(itertools.product(DTYPES, BATCH_SIZES, SEQ_LENS, ARMS))
    models = [
        measured(arm, rng, restarts=restarts, rounds=rounds, dtype=dtype, batch_size=batch, seq_len=length)
        for dtype, batch, length, arm in shapes
    ]
    for number in range(count):
        model, operator = models[number % len(models)], f"operator_{number // len(models) + 1:03}"
        cell = {"operator": operator, "dtype": model.dtype, "batch": model.batch_size, "length": model.seq_len}
        factor = 1 + number // len(models) / 1000  # no time is told twice
        times = {name: getattr(model, name) * factor for name in ESTIMATES}
        yield replace(
            model, operator=operator, cell_id=to_json(cell), job_id=to_json(cell | {"arm": model.arm}), **times
        )


def write(count: int, folder: Path) -> None:
    """As a sweep writes them, but without waiting for the disk."""
    schema = records.schema()
    for number, one in enumerate(synthetic(count)):
        own = folder / one.operator / f"{number:06}"
        own.mkdir(parents=True)
        row = asdict(one)
        (own / records.FILE_NAME).write_bytes(parquet({name: [row[name]] for name in schema}, schema))


def write_merged(count: int, file: Path) -> None:
    """The same in one file; from AT_ONCE on they repeat, as other operators and with other times."""
    import polars as pl

    schema = records.schema()
    rows = [asdict(one) for one in synthetic(min(count, AT_ONCE))]
    first = pl.DataFrame({name: [row[name] for row in rows] for name in schema}, schema=schema)
    frames = []
    for number in range(-(-count // AT_ONCE)):
        named = f"operator_{number:03}_" if number else "operator_"
        texts = (
            pl.col(name).str.replace("operator_", named, literal=True) for name in ("operator", "cell_id", "job_id")
        )
        times = (pl.col(name) * (1 + number / 1e5) for name in ESTIMATES)
        frames.append(first.with_columns(*texts, *times))
    pl.concat(frames).head(count).write_parquet(file, row_group_size=100_000)


def timed(name: str, work: Callable[[], object]) -> None:
    """Prints the processor time of some work, and the most memory that this process has had until its end."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    memory = after.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"{name}: {user:.1f} s user, {system:.1f} s system, {wall:.1f} s in all, {memory / 2**20:.0f} MiB", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="the folder to write into, and to read from where it is there")
    parser.add_argument("--merged", action="store_true", help="read one merged file instead of as many folders")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        source, out = folder / "records", folder / "reports"
        if chosen.merged:
            source = folder / f"{chosen.count}.parquet"
        if not source.exists():
            folder.mkdir(parents=True, exist_ok=True)
            (write_merged if chosen.merged else write)(chosen.count, source)
        from mtbench import compare
        from mtbench.compare import formats
        from mtbench.report import build

        shutil.rmtree(paths.cache() / "records", ignore_errors=True)  # so that the first reading is the first
        timed("report", lambda: build([source], out))
        timed("report, again", lambda: build([source], out))
        if chosen.count <= AT_ONCE:
            timed("compare", lambda: formats.as_json(compare.compare(f"{source}:torch", f"{source}:mlx")))
        files = {path.relative_to(out): path.stat().st_size for path in out.rglob("*") if path.is_file()}
        for name in ("index", "operator_001", "roofline", "job"):
            loaded = [
                f"{name}.html",
                *(f"assets/{one}" for one in ("report.js", "report.css", "vega.js", f"charts-{name}.js")),
            ]
            size = sum(files.get(Path(one), 0) for one in loaded)
            print(f"{name}.html loads {size / 1e6:.2f} MB")
        print(f"{len(files)} files, {sum(files.values()) / 1e6:.0f} MB in all")


if __name__ == "__main__":
    main()
