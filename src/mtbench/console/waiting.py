"""A line on stderr for what takes longer than a moment and has no view of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status


def waiting(doing: str) -> "AbstractContextManager[Status]":
    """`with waiting("Building the report ...")`: a spinner with these words, where stderr is a terminal. It turns in a thread,
    so it is for what comes before or after a measurement. The status that it gives can be told more."""
    from rich.console import Console

    return Console(stderr=True).status(doing)


@contextmanager
def counting(doing: str) -> Iterator[Callable[[int, int], None]]:
    """The same for what answers in parts: it gives what is told how many of how many there are."""
    with waiting(f"{doing} ...") as status:
        yield lambda done, of: status.update(f"{doing}: {done} of {of} have answered ...")
