"""`mtbench share`: the records of a folder as one small file for each machine, without what is private."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError
from mtbench.exchange import check, package
from mtbench.exchange.package import Contents, Selftest
from mtbench.paths import write_atomically
from mtbench.plain import to_json
from mtbench.results import record
from mtbench.results.files import exists
from mtbench.results.format import plural, size
from mtbench.results.private import Private
from mtbench.results.record import Record
from mtbench.results.selftest import newest


@dataclass(frozen=True)
class Package:
    """A file that can be written: `content` at `path`, and `told`, what a person should see before, a line each."""

    path: Path
    content: bytes
    told: list[str]


def prepare(
    sources: Sequence[Path], out: Path, here: Private | None = None, now: datetime | None = None
) -> list[Package]:
    """The files to share of what is below `sources`, one for each machine, to go below `out`.

    What `check` would refuse is left out, and said. `here` is what is private on this machine. Raises ConfigError where a
    source does not exist, nothing can be shared, or the self-test of a machine failed.
    """
    for source in sources:
        if not exists(source):
            raise ConfigError(f"There is no folder {source}.")
    here = here or Private.here()
    frame, problems = record.read(record.find(sources))
    selftests = _selftests(sources)
    found = []
    left_out: Counter[str] = Counter(problem.partition(": ")[2] for problem in problems)
    by_machine: dict[str, list[Record]] = {}
    for one in map(_without_private, record.of_rows(frame)):
        why = next(check.reasons(one, now, here), None)
        if why is None:
            by_machine.setdefault(one.machine_id, []).append(one)
        else:
            left_out[why] += 1
    for machine_id, records in sorted(by_machine.items()):
        selftest = selftests.get(machine_id)
        if selftest is not None and not selftest.passed:
            raise ConfigError(
                f"The self-test of this machine failed ({selftest.summary} {selftest.created}), so its figures are not shared."
            )
        found.append(_package(machine_id, records, selftest, out, left_out))
    if not found:
        reasons = "; ".join(f"{count} {plural(count, 'job')}: {why}" for why, count in left_out.most_common())
        raise ConfigError(f"Nothing under {', '.join(map(str, sources))} can be shared. {reasons or 'No records'}.")
    return found


def write(one: Package) -> None:
    """Raises ConfigError where it cannot be written."""
    try:
        write_atomically(one.path, one.content)
    except OSError as error:
        raise ConfigError(f"{one.path} cannot be written ({error.strerror}); give another --out.") from error


def files(paths: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Each file to check, with why it is refused; of a folder, all files below it but Markdown."""
    for path in paths:
        below = (
            sorted(one for one in path.rglob("*") if one.is_file() and one.suffix != ".md") if path.is_dir() else [path]
        )
        for one in below:
            yield one, check.check(one) if one.exists() else ["there is no such file"]


def _package(
    machine_id: str, records: list[Record], selftest: Selftest | None, out: Path, left_out: Counter[str]
) -> Package:
    import polars as pl

    machine = json.loads(max(records, key=lambda one: str(one.finished_at)).machine)
    columns = record.schema()
    rows = {name: [getattr(one, name) for one in records] for name in columns}
    frame = pl.DataFrame(rows, schema=columns, strict=True)
    identity = package.fingerprint(frame)
    content = package.packed(frame, Contents(machine_id, len(records), identity, selftest))
    day = max(one.finished_at for one in records if one.finished_at is not None)
    path = out / package.folder_name(machine, machine_id) / f"{day:%Y-%m-%d}-{identity}.parquet"
    return Package(path, content, list(_told(path, records, machine, content, selftest, left_out)))


def _told(
    path: Path,
    records: list[Record],
    machine: dict[str, Any],
    content: bytes,
    selftest: Selftest | None,
    left_out: Counter[str],
) -> Iterator[str]:
    yield f"{path}: {len(records)} {plural(len(records), 'record')}, {size(len(content))}"
    yield f"machine: {to_json(machine)}"
    yield f"operators: {', '.join(sorted({one.operator for one in records}))}"
    versions = sorted({f"{one.framework} {one.library_version}" for one in records if one.library_version})
    yield f"libraries: {', '.join(versions)}"
    settings = sorted({one.asked_settings for one in records} - {"{}"})
    yield from (f"settings: {text}" for text in settings)
    yield from (f"warnings: {text}" for text in sorted({text for one in records for text in one.warnings}))
    yield f"self-test: {'none was found' if selftest is None else f'{selftest.summary} {selftest.created}'}"
    yield from (f"left out: {count} {plural(count, 'job')}, {why}" for why, count in left_out.most_common())


def _without_private(one: Record) -> Record:
    """The record without what nobody else needs: the cluster's name of its job, and facts of the machine that name it."""
    machine = {name: value for name, value in json.loads(one.machine).items() if name in check.MACHINE}
    if machine.get("gpus"):
        machine["gpus"] = [{name: gpu[name] for name in gpu if name in check.GPU} for gpu in machine["gpus"]]
    return replace(one, engine_job=None, machine=to_json(machine))


def _selftests(sources: Sequence[Path]) -> dict[str, Selftest]:
    """The newest self-test of each machine; one that failed counts before one that passed."""
    outcomes, _ = newest([source for source in sources if source.is_dir()])
    found: dict[str, Selftest] = {}
    for one in sorted(outcomes, key=lambda one: one.passed):
        told = Selftest(one.passed, one.summary, one.created, one.kind, one.device)
        found.setdefault(one.machine_id, told)
    return found
