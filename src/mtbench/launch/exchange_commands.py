"""The commands by which results travel: import, export."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mtbench.errors import ConfigError
from mtbench.paths import write_atomically


def add(app: typer.Typer) -> None:
    """Adds these commands to the others."""
    app.command("import")(import_figures)
    app.command("export")(export_records)


def import_figures(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The folder for the records.")] = Path("multirun/imported"),
) -> None:
    """Reads figures that others published, as unverified records.

    Known are the CSV files of mlx_transformers_benchmark, llama-bench's JSON, JSONL and CSV, pyperf's JSON, and llmfit's
    community results. The report draws them hollow beside yours; no verdict uses them.
    """
    from mtbench.exchange.imports import import_files

    try:
        found = import_files(files, out)
    except ConfigError as error:
        _refuse("import", error)
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

    bmf is Bencher's; github-action-benchmark's is customSmallerIsBetter; pytorch is PyTorch's benchmark database, version 3.
    """
    from mtbench.exchange.exports import export

    try:
        text, problems = export(folders, output)
        if out is not None:
            _write(out, text)
    except ConfigError as error:
        _refuse("export", error)
    for line in problems:
        typer.echo(f"mtbench export: {line}", err=True)
    typer.echo(text if out is None else f"Written to {out}")


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text + "\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); give another --out.") from error


def _refuse(command: str, error: ConfigError) -> NoReturn:
    typer.echo(f"mtbench {command}: {error}", err=True)
    sys.exit(2)
