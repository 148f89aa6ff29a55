"""How memory is kept while many records are read and compared."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Turns the search for reference cycles off. What is made of ten thousand records stays until the end, and looking through
    it again and again takes a seventh of a report's time. Reference counting frees the rest as usual."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
