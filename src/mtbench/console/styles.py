"""Colours of words in a terminal, and a guard so that an old terminal does not end a sweep."""

from contextlib import suppress
from io import TextIOWrapper

from rich.console import Console

STYLES = {
    "ok": "green",
    "faster": "green",
    "slower": "red",
    "measuring": "green",
    "preparing": "yellow",
    "unsupported": "yellow",
    "unverified": "yellow",
    "interrupted": "yellow",
    "waiting": "dim",
    "inconclusive": "dim",
    "descriptive": "dim",
    "open": "dim",
}
FAILURE = "bold red"  # every status that is not named above


def never_fail_on_a_character(console: Console) -> None:
    """Where the output cannot show µ, a ? shall stand there, rather than end a sweep of hours."""
    if isinstance(console.file, TextIOWrapper) and not console.encoding.startswith("utf"):
        with suppress(ValueError):  # a stream that is in use already may refuse
            console.file.reconfigure(errors="replace")
