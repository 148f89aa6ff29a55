"""`mtbench export`: records in the formats of other tools, from the estimates and comparisons that every display shows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mtbench.errors import ConfigError, unknown
from mtbench.exchange import bmf, github_action_benchmark, pyperf, pytorch, table
from mtbench.results import record
from mtbench.results.record import Record

FORMATS: Mapping[str, Callable[[Sequence[Record]], str]] = {
    bmf.NAME: bmf.export,
    github_action_benchmark.NAME: github_action_benchmark.export,
    pytorch.NAME: pytorch.export,
    pyperf.NAME: pyperf.export,
    "csv": table.as_csv,
    "markdown": table.as_markdown,
}


def export(folders: Sequence[Path], name: str) -> tuple[str, list[str]]:
    """The records below folders, or of merged files, in a format of FORMATS, and a line for each file that is no record.

    Raises ConfigError where there is no such format or folder, no record, or none that the format can hold.
    """
    if name not in FORMATS:
        raise ConfigError(unknown("format", name, FORMATS))
    for folder in folders:
        if not folder.exists():
            raise ConfigError(f"There is no folder {folder}.")
    frame, problems = record.read(record.find(folders))
    records = record.of_rows(frame)
    where = ", ".join(map(str, folders))
    if not records:
        raise ConfigError(problems[0] if problems else f"No records under {where}.")
    if not any(one.latency_ns is not None for one in records):
        raise ConfigError(f"No record under {where} has a time.")
    return FORMATS[name](records), problems
