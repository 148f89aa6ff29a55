"""Lines of words as a terminal shows them: wrapped between words to its width, and whole in a pipe or a file."""

import os
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

HANGING = "  "
"""Before what continues a line, beyond the line's own indentation."""

NARROWEST = 24
"""Characters of a column that can still be read."""


def say(lines: Iterable[str], console: "Console | None" = None) -> None:
    """Prints lines of plain text. What is not a word and a space long, such as a path, is never broken."""
    from rich.console import Console

    from mtbench.console.styles import never_fail_on_a_character

    target = console or Console()
    never_fail_on_a_character(target)
    for line in lines:
        for piece in wrapped(line, target.width) if target.is_terminal else [line]:
            target.print(piece, markup=False, highlight=False, emoji=False, soft_wrap=True)


def tell(text: str, file: TextIO | None = None) -> None:
    """Prints lines of plain text as `say` does, without Rich, for which a mistake or a help need not wait."""
    out = file or sys.stdout
    width = width_of(out)
    for line in text.splitlines():
        print("\n".join(wrapped(line, width)) if width else line, file=out)


def width_of(out: TextIO) -> int | None:
    """Columns of a terminal; None for a pipe or a file, whose lines may be as long as they are."""
    try:
        return os.get_terminal_size(out.fileno()).columns or None if out.isatty() else None
    except (OSError, ValueError):  # what stands in its place is no terminal
        return None


def wrapped(line: str, width: int) -> list[str]:
    """A line on as many lines as its words need, those after the first indented."""
    indent = line[: len(line) - len(line.lstrip())]
    if width - len(indent) < NARROWEST:
        indent = HANGING * 2
    found = textwrap.wrap(
        line.lstrip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + HANGING,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return found or [""]


def hanging(name: str, words: str, console: "Console | None" = None) -> str:
    """A name and the words on it, which a terminal shows in a column of their own; one line in a pipe or a file."""
    if console is None and not sys.stdout.isatty():  # a list of names need not wait for Rich
        return name + words
    from rich.console import Console

    target = console or Console()
    if not target.is_terminal or not words:
        return name + words
    room = target.width - len(name)
    indent = " " * len(name) if room >= NARROWEST else HANGING * 2
    return "\n".join(
        textwrap.wrap(
            words,
            target.width,
            initial_indent=name,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
