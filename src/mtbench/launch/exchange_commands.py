"""The commands by which results travel: import."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mtbench.errors import ConfigError


def add(app: typer.Typer) -> None:
    """Adds these commands to the others."""
    app.command("import")(import_figures)


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


def _refuse(command: str, error: ConfigError) -> None:
    typer.echo(f"mtbench {command}: {error}", err=True)
    sys.exit(2)
