"""The program's own streams: what cannot be said must not end a sweep that is being measured.

This needs the standard library's smallest parts alone, since it is loaded before everything else.
"""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class Steady:
    """A text stream that goes on into nowhere once it cannot be written: its reader went away, as in `| head -1`, or its disk
    is full. The latter is said, on stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self._stream.fileno() == 1:
            with suppress(OSError):
                print(f"mtbench: the output cannot be written ({error.strerror}); continuing without", file=sys.stderr)
        self.flush()  # what was buffered


def install() -> None:
    """Opens the streams that are closed, so that no pipe of a worker gets their number, and makes them steady."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            stream = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
        setattr(sys, name, cast("TextIO", Steady(stream)))
