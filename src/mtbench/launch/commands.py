"""Commands beside measuring: which, list, report, compare, resume, status, doctor, selftest and others."""

import shlex
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mtbench import paths
from mtbench.console.lines import hanging, say, tell, width_of
from mtbench.console.waiting import counting, waiting
from mtbench.errors import ConfigError, unknown
from mtbench.launch import exchange_commands
from mtbench.launch.opening import show
from mtbench.launch.refusing import refuse

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Commands beside measuring.", rich_markup_mode=None)
exchange_commands.add(app)


@app.command()
def which(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[model=NAME]", help="A preset, or the path of a config.json. Default: smollm2_135m."),
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long it may take.")] = 5.0,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would measure, and measure nothing.")] = False,
) -> None:
    """Finds the fastest library for a small language model on this machine.

    Measures a token, a prompt and one layer in every library installed here, says who is fastest and how sure that is, and
    builds the report.
    """
    from mtbench.launch import which as question

    try:
        model = question.model_of(settings or [])
        with waiting("Asking each library what it can do here ..."):
            choice = question.choose(model, minutes, device)
        say(choice.lines())
        if dry_run:
            return
        index, code = question.measure(choice)
    except ConfigError as error:
        refuse("which", error)
    if index is not None:
        show(index, open_report, "which")
    sys.exit(code)


@app.command("list")
def list_names(
    of_support: Annotated[
        bool, typer.Option("--support", help="How each operator runs in each library, and what works on this machine.")
    ] = False,
    output: Annotated[str, typer.Option("--format", help="Of --support: table or markdown.")] = "table",
) -> None:
    """Lists what can be measured, with one line on each name. --support shows how operators run in each library."""
    if output not in ("table", "markdown"):
        refuse("list", unknown("format", output, ("table", "markdown")))
    if output != "table" and not of_support:
        refuse("list", f"--format {output} goes with --support; give both.")
    if of_support:
        from mtbench.catalogue import capability, registry, support

        matrix = support.matrix()
        if output == "markdown":
            typer.echo(support.markdown(matrix))
            return
        with counting("Asking each library what it can do here") as told:
            answers = capability.ask(registry.names("framework"), thorough=True, told=told)
        tell("\n".join(support.lines(matrix, answers, width_of(sys.stdout))))
        return
    folder = paths.conf()
    groups = ("operator", "model", "framework", "device", "dtype", "shape", "protocol", "sweep", "engine", "experiment")
    for group in groups:
        typer.echo(f"{'+' if group == 'experiment' else ''}{group}=")
        for file in sorted((folder / group).glob("*.yaml")):
            typer.echo(hanging(f"  {file.stem:<28} ", _title(file)))


def _title(file: Path) -> str:
    """A YAML file's first comment that is not an instruction to Hydra."""
    comments = (line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@")), "")


@app.command()
def report(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with records, or merged files. Default: multirun.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("reports"),
    chart_format: Annotated[
        str | None, typer.Option("--format", help="Also write each chart as a file: svg or png.")
    ] = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Builds the report. Open index.html in its folder; it works offline."""
    try:
        with waiting("Building the report ..."):
            from mtbench.report import build

            index = build(folders or [Path("multirun")], out, chart_format, pictures=True)
    except ConfigError as error:
        refuse("report", error)
    show(index, open_report, "report")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A sweep's folder, or FOLDER:ARM for one arm of it.")],
    b: Annotated[str | None, typer.Argument(metavar="B", help="The same for B. Ratios are B's time over A's.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Instead of B: compare the values of one axis in A, such as dtype or operator.params.bits. "
            "The first value is A."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="Which time: latency, throughput or device.")] = "latency",
    threshold: Annotated[
        str | None,
        typer.Option(
            help="The smallest difference that matters, such as 3%. Default: 1 to 3 %, depending on the noise."
        ),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, markdown, json or csv.")] = "table",
    fail_if_slower: Annotated[
        str | None, typer.Option(help="Exit with 1 if B is surely slower by more than this, such as 5%.")
    ] = None,
) -> None:
    """Compares two sweeps, or two arms, cell by cell.

    Arms of one sweep were interleaved and get verdicts. Two sweeps get descriptive ratios without a verdict.
    """
    from mtbench import compare as comparison
    from mtbench.compare import formats, gate

    try:
        formats.check(output)
        least = None if threshold is None else gate.fraction(threshold, "--threshold")
        limit = None if fail_if_slower is None else gate.fraction(fail_if_slower, "--fail-if-slower")
        if (b is None) == (by is None):
            raise ConfigError("Give a second folder to compare A with, or --by and an axis of A, such as --by dtype.")
        with waiting("Comparing ..."):
            if by is not None:
                table = comparison.compare_by(a, by, metric=metric, threshold=least, limit=limit)
            else:
                table = comparison.compare(a, str(b), metric=metric, threshold=least, limit=limit)
        formats.write(table, output)
        sys.stdout.flush()  # before what follows on the other stream
    except ConfigError as error:
        refuse("compare", error)
    except Exception:  # Python would end with 1, which to a build means that B is slower
        traceback.print_exc()
        sys.exit(3)
    for failure in formats.failures(table):
        typer.echo(f"mtbench compare: {failure}", err=True)
    sys.exit(1 if table.failures else 0)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records, or merged files.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("all.parquet"),
) -> None:
    """Writes many records into one Parquet file, which every command reads like a folder."""
    from mtbench.results.format import plural
    from mtbench.results.merging import merge

    try:
        with waiting("Reading the records ..."):
            merged = merge(folders, out)
    except ConfigError as error:
        refuse("merge", error)
    for problem in merged.problems:
        typer.echo(f"mtbench merge: {problem}", err=True)
    doubles = f"; {merged.doubles} more were there twice" if merged.doubles else ""
    typer.echo(f"{merged.records} {plural(merged.records, 'record')} in {out}{doubles}")


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep, or of a single run.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="protocol.restarts=10 adds restarts until there are ten; protocol.stop_after=7200 stops after two hours; "
            "engine=local continues on this machine."
        ),
    ] = None,
    retry: Annotated[str, typer.Option(help="Measure these again: failed,crashed,oom,timeout,mismatch.")] = "",
    only_inconclusive: Annotated[
        bool,
        typer.Option(
            "--only-inconclusive", help="Measure only cells whose verdict is open, by default with twice the restarts."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left, and measure nothing.")] = False,
) -> None:
    """Continues a sweep: keeps what is finished, and measures what is missing."""
    from mtbench.engines.claim import claimed
    from mtbench.launch.app import run_rest
    from mtbench.launch.going_on import engine, left

    try:
        statuses = [status.strip() for status in retry.split(",") if status.strip()]
        of_engine = [setting for setting in settings or [] if setting.startswith("engine")]
        others = [setting for setting in settings or [] if setting not in of_engine]
        chosen = engine(folder, of_engine)
        with nullcontext() if dry_run else claimed(folder):
            with waiting("Reading the records ..."):
                rest = left(folder, others, statuses, only_inconclusive)
            typer.echo(f"{folder}: {rest}.")
            if not dry_run:
                run_rest(rest, folder, chosen)
    except ConfigError as error:
        refuse("resume", error)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep, or of a single run.")],
) -> None:
    """Shows the progress of a sweep, and of each of its parts (shards), if it has any, the state and where it runs.

    Exits with 1 if a shard is lost, failed or interrupted.
    """
    from rich.console import Console

    from mtbench.console.shards import overview
    from mtbench.engines.run import rest_of, standings

    try:
        with waiting("Asking how far it is ..."):
            plan, found = standings(folder)
            rest = rest_of(plan, folder)
        typer.echo(f"{folder}: {rest}.")
    except ConfigError as error:
        refuse("status", error)
    if found:
        Console().print(overview(found))
    if any(one.status in ("lost", "failed", "interrupted") for one in found):
        typer.echo(f"Go on: python -m mtbench resume {shlex.quote(str(folder))}")
        sys.exit(1)


@app.command()
def doctor(
    report: Annotated[
        bool, typer.Option("--report", help="Print Markdown without private data, to paste into an issue.")
    ] = False,
) -> None:
    """Describes this machine.

    Shows what can run on it, why the rest cannot, and what would disturb a measurement now, with remedies.
    """
    from rich.console import Console

    from mtbench import machine
    from mtbench.catalogue import capability, registry
    from mtbench.machine.console import examination
    from mtbench.machine.contenders import contender
    from mtbench.machine.doctor import examine, on_blas, worst_first

    with waiting("Asking each framework what it can do here ..."):
        quiet = examine()  # before they start, which is a load
        libraries = capability.ask(registry.names("framework"))
    findings = worst_first([*quiet, *on_blas(libraries)])
    if report:
        from mtbench.machine.issue_report import issue_report

        typer.echo(issue_report(machine.describe(), findings, libraries), nl=False)
        return
    Console().print(examination(findings, [contender(one) for one in libraries], machine.describe()))


@app.command()
def selftest(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials; takes a minute and a half.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    only: Annotated[
        str,
        typer.Option(
            help="Run only these parts, separated by commas: busy_wait, twins, injected, rivals, do_bench, twice, cost."
        ),
    ] = "",
    out: Annotated[Path, typer.Option(help="The JSON file to write. The report reads those in multirun.")] = Path(
        "multirun/selftest.json"
    ),
    simulations: Annotated[
        bool, typer.Option("--simulations", help="Test the statistics instead, on simulated measurements.")
    ] = False,
) -> None:
    """Tests the instrument on this machine.

    Measures known times and known differences, and compares with other tools. Exits with 1 if a goal is missed.
    """
    from rich.console import Console

    if simulations:
        from mtbench.selftest.simulation.__main__ import main

        sys.exit(main(["--quick"] if quick else []))

    from mtbench.results.selftest import Outcome, write
    from mtbench.selftest.run import run
    from mtbench.selftest.table import table

    parts = [name.strip() for name in only.split(",") if name.strip()]
    unfinished = out.with_name(f"{out.stem}-unfinished{out.suffix}")  # a partial self-test must not replace a whole one
    kept = False

    def keep(so_far: Outcome) -> None:
        nonlocal kept
        write(so_far, unfinished if so_far.left_out else out)
        kept = True

    try:
        outcome = run(device, quick, say=typer.echo, only=parts, keep=keep)
    except ConfigError as error:
        refuse("selftest", error)
    except KeyboardInterrupt:
        finished = f"the finished parts are in {unfinished}" if kept else "no part was finished"
        typer.echo(f"Interrupted; {finished}.", err=True)
        sys.exit(130)
    Console().print(table(outcome))
    if outcome.left_out:
        typer.echo(f"Written to {unfinished}. The report shows only complete self-tests.")
    else:
        unfinished.unlink(missing_ok=True)
        typer.echo(f'Written to {out}. `python -m mtbench report` shows it under "How far to trust these numbers".')
    sys.exit(0 if outcome.passed else 1)
