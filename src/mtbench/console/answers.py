"""The answers of a sweep as lines of a terminal, most important first, wrapped between words."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mtbench.console.styles import STYLES
from mtbench.results.answers import BITS, COMPILE, ENERGY, FASTEST, LIMIT, PRECISION, QUEUED, Answers, answers
from mtbench.results.answers.contests import of_records
from mtbench.results.answers.sentences import settle
from mtbench.results.format import plural
from mtbench.results.record import Record

SHOWN = 8
"""Sentences on each question; the report has them all."""

SHOWN_CAVEATS = 3

INDENT = " "
"""Before what stands below a heading."""

QUESTIONS = {
    FASTEST: "Who is fastest?",
    BITS: "At how many bits?",
    QUEUED: "And in queued calls?",
    ENERGY: "And in energy?",
    COMPILE: "Does compiling pay?",
    PRECISION: "Do fewer bits pay?",
    LIMIT: "How near the limit?",
}


def of_records_in(records: Sequence[Record], folders: Mapping[str, str]) -> Answers:
    """The answers of records with their samples; `folders` has that of each sweep."""
    return answers(of_records(records), folders, of_records(records, "throughput"))


def show(console: Console, found: Answers) -> None:
    """Prints the answers, if there are any, after an empty line. A terminal wraps each below its own beginning; elsewhere each
    stays one line."""
    for number, line in enumerate(lines(found)):
        if number == 0:
            console.print()
        if console.is_terminal and line.plain.startswith(INDENT):
            console.print(Padding(line[len(INDENT) :], (0, 0, 0, len(INDENT))), highlight=False)
        else:
            console.print(line, highlight=False, soft_wrap=not console.is_terminal)


def lines(found: Answers, brief: bool = False) -> Iterator[Text]:
    """The headline, the answers to each question, what limits them, and what would settle them. `brief`: no more than a
    headline, what limits it and what would settle it."""
    for line in found.headline:
        yield Text(line, style="bold")
    for question, heading in QUESTIONS.items():
        told = [one for one in found.of(question) if str(one) not in found.headline]
        if not told or brief:
            continue
        yield Text("")
        yield Text(heading, style="bold")
        for one in told[:SHOWN]:
            yield Text(f"{INDENT}{one}", style=STYLES.get(one.certainty, ""))
        if len(told) > SHOWN:
            yield Text(
                f"{INDENT}{len(told) - SHOWN} more {plural(len(told) - SHOWN, 'answer')}; the report has them all.",
                "dim",
            )
    if found.caveats:
        yield Text("")
        yield Text("What limits these answers", style="bold")
        for caveat in found.caveats[:SHOWN_CAVEATS]:
            yield Text(f"{INDENT}{caveat}", style="yellow")
    if found.settle:
        yield Text("")
        yield Text("How to settle the open answers", style="bold")
        for way in found.settle:
            yield Text(f"{INDENT}{settle(way)}")
