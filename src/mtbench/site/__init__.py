"""The public site: a page for each chip, one across all, the method, and the documentation, from shared measurements.

`build` is the way in. A chip's page is a report of its records; the page across chips is a report of all. Shared files that
the check refuses are left out, and the front page names them. Figures that others published are on the pages as the report
has them: hollow, and in no comparison.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from mtbench.errors import ConfigError
from mtbench.exchange import check, package
from mtbench.report import build as build_report
from mtbench.report import pages
from mtbench.report.publish import published
from mtbench.results import answers, merging, record
from mtbench.results.answers.contests import of_records
from mtbench.results.files import SHARED_NAME
from mtbench.results.format import natural, plural
from mtbench.results.machines import machine_names, machine_rows
from mtbench.results.record import Record
from mtbench.results.version import __version__


@dataclass(frozen=True)
class Chip:
    """One machine that measured, or of which others published figures."""

    name: str
    page: str
    facts: list[tuple[str, str]]
    verified: int
    published: int
    sources: list[str]
    first: str
    last: str
    libraries: list[str]
    selftests: list[str]
    headline: list[str]


@dataclass(frozen=True)
class Read:
    """The files of a site: `good` with the self-tests of shared ones by file, `refused` with a line for each."""

    good: list[Path]
    selftests: dict[Path, package.Selftest]
    refused: list[str]


def build(sources: Sequence[Path], out: Path, docs: Path | None = None) -> Path:
    """Writes the site of all shared files and records below `sources` to the folder `out`; returns its front page.

    `docs` is a folder with the built documentation, which becomes `out/docs`. Without a single record the site says how to
    share one. An earlier site in `out` is replaced; other files there stay. Raises ConfigError where a source or `docs` does
    not exist, or `out` cannot be written.
    """
    for folder in [*sources, *([] if docs is None else [docs])]:
        if not folder.exists():
            raise ConfigError(f"There is no folder {folder}.")
    if docs is not None and not (docs / "index.html").is_file():
        raise ConfigError(f"{docs} is no built documentation: it has no index.html.")
    read = _read(sources)
    for line in read.refused:
        logging.getLogger(__name__).warning(line)
    with published(out) as building, tempfile.TemporaryDirectory() as scratch:
        chips = _chips(read, Path(scratch), building)
        if chips:
            build_report([_merged(read.good, Path(scratch), "all", None)], building / "across")
        if docs is not None:
            shutil.copytree(docs, building / "docs")
        (building / "assets").mkdir()
        (building / "assets" / "report.css").write_text(pages.asset("report.css"), encoding="utf-8")
        text = (
            _environment()
            .get_template("index.html")
            .render(
                chips=chips,
                refused=read.refused,
                docs=docs is not None,
                version=__version__,
                built=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            )
        )
        (building / "index.html").write_text(text, encoding="utf-8")
        (building / ".nojekyll").write_text("")  # GitHub would leave out what begins with an underscore
    return out / "index.html"


def _read(sources: Sequence[Path]) -> Read:
    good, selftests, refused = [], {}, []
    given = {source.resolve() for source in sources if source.is_file()}
    for path in record.find(sources):
        reasons = []
        if path in given or SHARED_NAME.fullmatch(path.name):
            reasons = check.check(path)
            if not reasons and (said := package.contents(path)).selftest is not None:
                selftests[path] = said.selftest
        elif record.read([path])[0]["source"].null_count():  # nobody has looked for what is private in it
            reasons = ["it was not packed by `mtbench share`"]
        if reasons:
            refused.append(f"{path.parent.name}/{path.name}: left out, {'; '.join(reasons)}")
        else:
            good.append(path)
    return Read(good, selftests, refused)


def _chips(read: Read, scratch: Path, building: Path) -> list[Chip]:
    """Each machine, with its report written; those that measured first, and by name."""
    frame, problems = record.read(read.good)
    read.refused.extend(problem.rpartition("/")[2] for problem in problems)
    names = machine_names(frame.select("machine", "machine_id", "source").unique().rows())
    by_machine: dict[str, list[tuple[Record, str]]] = {}
    for one, path in zip(record.of_rows(frame), frame["path"], strict=True):
        by_machine.setdefault(one.machine_id, []).append((one, path))
    found = []
    for machine_id, members in by_machine.items():
        records = [one for one, _ in members]
        files = sorted({Path(path) for _, path in members})
        slug = package.folder_name(json.loads(records[0].machine), machine_id)
        build_report([_merged(files, scratch, slug, machine_id)], building / "chips" / slug)
        selftests = sorted(
            {read.selftests[path.resolve()].summary for path in files if path.resolve() in read.selftests}
        )
        name = names[records[-1].machine, machine_id]
        found.append(_chip(name, records, f"chips/{slug}/index.html", selftests))
    return sorted(found, key=lambda one: (one.verified == 0, one.name, one.page))


def _merged(files: Sequence[Path], scratch: Path, name: str, machine_id: str | None) -> Path:
    """A folder with one file of all records, or of those of one machine: pages then name records without the folders of whoever
    builds the site. A file of figures that others published may hold those of several machines."""
    folder = scratch / name
    merging.merge(files, folder / record.FILE_NAME, machine_id)
    return folder


def _chip(name: str, records: Sequence[Record], page: str, selftests: list[str]) -> Chip:
    machine: dict[str, Any] = json.loads(records[-1].machine)
    ours = [one for one in records if one.source is None]
    dates = sorted(f"{one.finished_at:%Y-%m-%d}" for one in records if one.finished_at is not None)
    versions = sorted({f"{one.framework} {one.library_version}" for one in ours if one.library_version}, key=natural)
    return Chip(
        name=name,
        page=page,
        facts=[row for row in machine_rows(machine) if row[0] != "chip"],
        verified=sum(one.status == "ok" for one in ours),
        published=len(records) - len(ours),
        sources=sorted({one.source for one in records if one.source is not None}),
        first=dates[0] if dates else "",
        last=dates[-1] if dates else "",
        libraries=versions,
        selftests=selftests,
        headline=answers.answers(of_records(ours)).headline,
    )


@cache
def _environment() -> jinja2.Environment:
    environment = pages.templates_of("mtbench.site")
    environment.filters["plural"] = lambda noun, count: plural(count, noun)
    return environment
