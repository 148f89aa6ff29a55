"""The file that is shared: records of one machine as Parquet, with its self-test and a fingerprint of what it holds.

`measurements/<machine>/<date>-<fingerprint>.parquet`: every command reads it like a folder of records.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench import plain
from mtbench.results.machines import own_gpus

if TYPE_CHECKING:
    import polars as pl

LAYOUT = 1

KEY = "mtbench"
"""Where the file's own metadata hold the Contents."""

LONGEST_CHIP = 100  # characters of a chip's and a GPU's names in a folder's

ORDER = ("sweep_id", "job_id", "finished_at")


@dataclass(frozen=True)
class Selftest:
    """The outcome of the self-test on this machine."""

    passed: bool
    summary: str
    created: str
    kind: str
    device: str


@dataclass(frozen=True)
class Contents:
    """What a file says of itself. `selftest` is None where none was found beside the records."""

    machine_id: str
    records: int
    fingerprint: str
    selftest: Selftest | None = None
    layout: int = LAYOUT


def fingerprint(frame: "pl.DataFrame") -> str:
    """A fingerprint of all rows, whatever their order."""
    rows = [plain.fingerprint(plain.to_plain(row)) for row in frame.iter_rows(named=True)]
    return plain.fingerprint(sorted(rows), 10)


def packed(frame: "pl.DataFrame", contents: Contents) -> bytes:
    """The file. `frame` has the columns of a record and no others."""
    content = BytesIO()
    metadata = {KEY: json.dumps(asdict(contents), sort_keys=True)}
    frame.sort(ORDER, nulls_last=True).write_parquet(content, compression="zstd", metadata=metadata)
    return content.getvalue()


def contents(path: Path) -> Contents:
    """What the file says of itself. Raises ValueError where it is no file of `packed`."""
    import polars as pl

    try:
        told = pl.read_parquet_metadata(path).get(KEY)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"torn or no Parquet file ({next(iter(str(error).splitlines()), '')[:100]})") from error
    if told is None:
        raise ValueError("it was not written by `mtbench share`")
    return plain.from_plain(Contents, json.loads(told))


def folder_name(machine: Mapping[str, Any], machine_id: str) -> str:
    """A machine's folder in `measurements/`: its chip and its identity, `apple-m4-pro-5f0c1d2e3a`. An identity that could lead
    to another folder is replaced by its fingerprint."""
    words = " ".join([str(machine.get("chip") or "machine"), *own_gpus(machine)[:1]])
    name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:LONGEST_CHIP]
    identity = machine_id if re.fullmatch(r"[\w-]{1,64}", machine_id, re.ASCII) else plain.fingerprint(machine_id, 10)
    return f"{name}-{identity}"
