"""The commands by which results travel: import, export, share, site."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mtbench.console.waiting import waiting
from mtbench.errors import ConfigError
from mtbench.launch.refusing import refuse
from mtbench.paths import write_atomically


def add(app: typer.Typer) -> None:
    """Adds these commands to the others."""
    app.command("import")(import_figures)
    app.command("export")(export_records)
    app.command("share")(share)
    app.command("site")(site)


def import_figures(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The folder for the records.")] = Path("multirun/imported"),
) -> None:
    """Reads figures that others published, as unverified records.

    Reads CSV files of mlx_transformers_benchmark, llama-bench's JSON, JSONL and CSV, pyperf's JSON, and llmfit's community
    results. The report draws these figures as hollow points beside yours; no verdict uses them.
    """
    from mtbench.exchange.imports import import_files

    try:
        with waiting("Reading the files ..."):
            found = import_files(files, out)
    except ConfigError as error:
        refuse("import", error)
    for line in found.left_out:
        typer.echo(f"mtbench import: {line}", err=True)
    counts = ", ".join(f"{count:,} of {name}" for name, count in found.counts.items())
    typer.echo(f"Unverified records in {out}: {counts}")


def export_records(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records.")],
    output: Annotated[
        str, typer.Option("--format", help="bmf, github-action-benchmark, pytorch, pyperf, csv or markdown.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: the standard output.")] = None,
) -> None:
    """Writes records in the format of another tool.

    bmf is the format of Bencher; github-action-benchmark is that of its tool customSmallerIsBetter; pytorch is that of
    PyTorch's benchmark database, version 3.
    """
    from mtbench.exchange.exports import export

    try:
        with waiting("Reading the records ..."):
            text, problems = export(folders, output)
        if out is not None:
            _write(out, text)
    except ConfigError as error:
        refuse("export", error)
    for line in problems:
        typer.echo(f"mtbench export: {line}", err=True)
    typer.echo(text if out is None else f"Written to {out}")


def share(
    sources: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders with records. With --check: files to check.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write below.")] = Path("measurements"),
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    only_check: Annotated[
        bool, typer.Option("--check", help="Check shared files, or all of a folder; exit with 1 if one is refused.")
    ] = False,
) -> None:
    """Packs records into one file for each machine, without private data, to be sent as a pull request.

    Shows what it will write, and asks. Leaves out records that are unverified, that were measured beside other work, that are
    faster than the machine's measured limits, or that identify its owner.
    """
    from mtbench.exchange import share as sharing

    if only_check:
        refused = 0
        for file, reasons in sharing.files(sources):
            refused += bool(reasons)
            typer.echo(f"{file}: {'; '.join(reasons)}" if reasons else f"{file}: accepted", err=bool(reasons))
        sys.exit(1 if refused else 0)
    try:
        with waiting("Checking the records ..."):
            packages = sharing.prepare(sources, out)
        for one in packages:
            typer.echo("\n".join([*one.told, ""]))
        if not yes and not (sys.stdin.isatty() and typer.confirm("Write this?")):
            raise ConfigError("Nothing was written. To write without being asked, add --yes.")
        for one in packages:
            sharing.write(one)
            typer.echo(f"Written to {one.path}. To publish it, send it as a pull request.")
    except ConfigError as error:
        refuse("share", error)


def site(
    sources: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders with shared files or records, such as measurements.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("site"),
    docs: Annotated[Path | None, typer.Option(help="The folder of the built documentation, to be part of it.")] = None,
) -> None:
    """Builds the public site: a page for each chip, one across all, and the method."""
    try:
        with waiting("Building the site ..."):
            from mtbench.site import build

            index = build(sources, out, docs)
    except ConfigError as error:
        refuse("site", error)
    typer.echo(f"The site is {index}")


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text + "\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); give another --out.") from error
