"""The commands beside measuring: list, report, compare, resume, doctor, selftest."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mtbench import paths
from mtbench.catalogue import registry
from mtbench.errors import ConfigError, unknown

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Measures transformer operators.", rich_markup_mode=None
)


@app.command("list")
def list_names(
    of_support: Annotated[
        bool, typer.Option("--support", help="Which operator runs how in which library, and what they say here.")
    ] = False,
    output: Annotated[str, typer.Option("--format", help="table or markdown, of --support.")] = "table",
) -> None:
    """What can be measured: every name of every group, with a line on each; with --support, what runs where and how."""
    if output not in ("table", "markdown"):
        typer.echo(f"mtbench list: {unknown('format', output, ('table', 'markdown'))}", err=True)
        sys.exit(2)
    if output != "table" and not of_support:
        typer.echo(f"mtbench list: --format {output} is that of --support; give both.", err=True)
        sys.exit(2)
    if of_support:
        from mtbench.catalogue import capability, support

        matrix = support.matrix()
        if output == "markdown":
            typer.echo(support.markdown(matrix))
        else:
            typer.echo("\n".join(support.lines(matrix, capability.ask(registry.names("framework"), thorough=True))))
        return
    folder = paths.conf()
    for group in ("operator", "model", "framework", "device", "dtype", "shape", "protocol", "sweep", "experiment"):
        typer.echo(f"{'+' if group == 'experiment' else ''}{group}=")
        for file in sorted((folder / group).glob("*.yaml")):
            typer.echo(f"  {file.stem:<28} {_title(file)}")


def _title(file: Path) -> str:
    """A YAML file's first comment that is not an instruction to Hydra."""
    comments = (line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@")), "")


@app.command()
def report(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with records; multirun where none is given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("reports"),
    chart_format: Annotated[str | None, typer.Option("--format", help="svg or png: each chart as a file, too.")] = None,
) -> None:
    """Builds the report: open index.html in its folder; it needs no network."""
    from mtbench.report import build

    try:
        index = build(folders or [Path("multirun")], out, chart_format)
    except ConfigError as error:
        typer.echo(f"mtbench report: {error}", err=True)
        sys.exit(2)
    typer.echo(f"The report is {index}")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A sweep's folder, or FOLDER:ARM for one arm of it.")],
    b: Annotated[
        str | None, typer.Argument(metavar="B", help="Likewise; its times are given relative to those of A.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Instead of B: an axis of A, such as dtype or operator.params.bits; the first value is A."),
    ] = None,
    metric: Annotated[str, typer.Option(help="latency, throughput or device.")] = "latency",
    threshold: Annotated[
        str | None, typer.Option(help="The difference that matters, such as 3%; by default 1 to 3 %, as the noise.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, markdown, json or csv.")] = "table",
    fail_if_slower: Annotated[
        str | None, typer.Option(help="Exit with 1 where B is slower by more than this, such as 5%, beyond doubt.")
    ] = None,
) -> None:
    """Compares two sweeps, or two arms, cell by cell: with verdicts where they were interleaved, else descriptive."""
    from mtbench import compare as comparison
    from mtbench.compare import formats, gate

    try:
        formats.check(output)
        least = None if threshold is None else gate.fraction(threshold, "--threshold")
        limit = None if fail_if_slower is None else gate.fraction(fail_if_slower, "--fail-if-slower")
        if (b is None) == (by is None):
            raise ConfigError("Give a second folder to compare A with, or --by and an axis of A, such as --by dtype.")
        if by is not None:
            table = comparison.compare_by(a, by, metric=metric, threshold=least, limit=limit)
        else:
            table = comparison.compare(a, str(b), metric=metric, threshold=least, limit=limit)
    except ConfigError as error:
        typer.echo(f"mtbench compare: {error}", err=True)
        sys.exit(2)
    formats.write(table, output)
    sys.stdout.flush()  # before what follows on the other stream
    for failure in formats.failures(table):
        typer.echo(f"mtbench compare: {failure}", err=True)
    sys.exit(1 if table.failures else 0)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep, or of a single run.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="protocol.restarts=10 adds restarts to those measured; protocol.stop_after=7200 ends in time."
        ),
    ] = None,
    retry: Annotated[str, typer.Option(help="Measure these again: failed,crashed,oom,timeout,mismatch.")] = "",
    only_inconclusive: Annotated[
        bool,
        typer.Option(
            "--only-inconclusive", help="Only cells with an open verdict, by default with twice the restarts."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left, and measure nothing.")] = False,
) -> None:
    """Goes on with a sweep where it was: what is whole stays, what is missing is measured."""
    from mtbench.launch.going_on import go_on

    try:
        statuses = [status.strip() for status in retry.split(",") if status.strip()]
        go_on(folder, settings or [], statuses, only_inconclusive, dry_run, say=typer.echo)
    except ConfigError as error:
        typer.echo(f"mtbench resume: {error}", err=True)
        sys.exit(2)


@app.command()
def doctor(
    report: Annotated[
        bool, typer.Option("--report", help="As Markdown without private data, to paste into an issue.")
    ] = False,
) -> None:
    """What this machine is, what can run on it and why not, and what would spoil a measurement now, with remedies."""
    from rich.console import Console

    from mtbench import machine
    from mtbench.catalogue import capability
    from mtbench.machine import contenders
    from mtbench.machine.console import examination
    from mtbench.machine.doctor import examine

    if report:
        from mtbench.machine.issue_report import issue_report

        libraries = capability.ask(registry.names("framework"))
        typer.echo(issue_report(machine.describe(), examine(), libraries), nl=False)
        return
    console = Console()
    with console.status("Asking each framework what it can do here ..."):
        findings, able = examine(), contenders.contenders()
    console.print(examination(findings, able, machine.describe()))


@app.command()
def selftest(
    quick: Annotated[bool, typer.Option("--quick", help="A minute and a half, with few trials.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    only: Annotated[
        str, typer.Option(help="Some parts alone: busy_wait, twins, injected, rivals, do_bench, twice, cost.")
    ] = "",
    out: Annotated[Path, typer.Option(help="The JSON file to write; the report looks in multirun.")] = Path(
        "multirun/selftest.json"
    ),
) -> None:
    """Proves the instrument on this machine: measures what is known, and beside others. Exits with 1 where a goal is missed."""
    from rich.console import Console

    from mtbench.selftest.outcome import Outcome, write
    from mtbench.selftest.run import run
    from mtbench.selftest.table import table

    parts = [name.strip() for name in only.split(",") if name.strip()]
    unfinished = out.with_name(f"{out.stem}-unfinished{out.suffix}")  # what is whole must not be lost to what is not
    kept = False

    def keep(so_far: Outcome) -> None:
        nonlocal kept
        write(so_far, unfinished if so_far.left_out else out)
        kept = True

    try:
        outcome = run(device, quick, say=typer.echo, only=parts, keep=keep)
    except ConfigError as error:
        typer.echo(f"mtbench selftest: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        finished = f"the parts that were finished are in {unfinished}" if kept else "no part was finished"
        typer.echo(f"Interrupted; {finished}.", err=True)
        sys.exit(130)
    Console().print(table(outcome))
    if outcome.left_out:
        typer.echo(f"Written to {unfinished}; the report shows whole self-tests alone.")
    else:
        unfinished.unlink(missing_ok=True)
        typer.echo(f"Written to {out}, which `python -m mtbench report` shows as how far to trust its numbers.")
    sys.exit(0 if outcome.passed else 1)
