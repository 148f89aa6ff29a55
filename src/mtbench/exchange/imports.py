"""`mtbench import`: files of other tools as records, which say where they come from and are never in a verdict."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtbench.errors import ConfigError
from mtbench.exchange import ancestor, llama_bench, llmfit, pyperf
from mtbench.exchange.published import File, Unreadable
from mtbench.plain import fingerprint_of_bytes
from mtbench.results import record
from mtbench.results.record import Record

FORMATS = (ancestor, llama_bench, pyperf, llmfit)

ENDINGS = (".csv", ".json", ".jsonl")

DIGITS = 6

LONGEST_NAME = 200
"""Bytes of a folder's name: most file systems end at 255, and what is being written adds some."""


@dataclass(frozen=True)
class Imported:
    """How many records were written from each format, by its name; `left_out` has a line for each file of no known format."""

    counts: dict[str, int]
    left_out: list[str]


def import_files(paths: Sequence[Path], out: Path) -> Imported:
    """Writes the records of files, and of all known files below folders, into the folder `out`.

    Importing again replaces what was imported from the same file. Raises ConfigError, before anything is written, where a file
    is not there, is of no known format or cannot be read as what it is.
    """
    found: dict[str, list[Record]] = {}
    left_out = []
    for path, named in _files(paths):
        file = File.read(path)
        kind = next((one for one in FORMATS if one.recognises(file)), None)
        if kind is None:
            if named:
                known = ", ".join(one.NAME for one in FORMATS)
                raise ConfigError(f"{path} has no known format; known: {known}.")
            left_out.append(f"{path}: left out, unknown format")
            continue
        try:
            found.setdefault(kind.NAME, []).extend(kind.records(file))
        except Unreadable as error:
            raise ConfigError(f"{path} is no {kind.NAME} file that can be read: {error}.") from error
    if not any(found.values()):
        raise ConfigError(f"No figures in {', '.join(map(str, paths))}.")
    for one in (one for records in found.values() for one in records):
        try:
            record.write(one, out / _folder(one))
        except OSError as error:
            raise ConfigError(f"{out} cannot be written ({error.strerror}); give another --out.") from error
    return Imported({name: len(records) for name, records in found.items()}, left_out)


def _files(paths: Sequence[Path]) -> list[tuple[Path, bool]]:
    """Each file, and whether it was named itself. Settings beside figures are left out: they are read with the figures."""
    found = []
    for path in paths:
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.suffix in ENDINGS and one.name != "settings.json")
            found += [(one, False) for one in below]
        elif path.exists():
            found.append((path, True))
        else:
            raise ConfigError(f"There is no file {path}.")
    return found


def _folder(one: Record) -> Path:
    shape = f"b{one.batch_size}_s{one.seq_len}" + ("" if one.kv_len is None else f"_k{one.kv_len}")
    parts = (one.sweep_id, one.operator, one.arm, one.dtype, f"{shape}-{one.job_id[:DIGITS]}")
    return Path(*map(_named, parts))


def _named(text: str) -> str:
    """A text as the name of one folder, which leads nowhere else. What a name may not hold becomes an underscore. A name of
    dots only, which would be the folder itself or the one above, gets a fingerprint, and so does one that is too long."""
    name = re.sub(r"[^\w.+=-]+", "_", text)
    if name.strip(".") and len(name.encode()) <= LONGEST_NAME:
        return name
    kept = name.strip(".").encode()[: LONGEST_NAME - 11].decode(errors="ignore")
    return f"{kept}_{fingerprint_of_bytes(text.encode(errors='surrogatepass'), 10)}"
