"""The pipe between controller and worker: messages of mtbench.bench.wire, a line in JSON each.

A line that is no such message raises Garbled: some library wrote to a descriptor that is not its own.
"""

import json
import math
import os
import select
import time
from typing import Any, TypeVar

from mtbench.bench.soundness import message_in
from mtbench.bench.wire import Refused, Request
from mtbench.plain import from_plain, to_plain

A = TypeVar("A")

LONGEST_LINE = 1 << 28
"""The most bytes of a message. A block of 10^7 calls has fewer; anything longer is not a message of ours."""


class Closed(Exception):
    """The other side is gone."""


class TimedOut(Exception):
    """No message came in time."""


class Garbled(Exception):
    """What came is no message."""


class Channel:
    """One end of the wire, over two file descriptors that it owns."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._buffer = bytearray()

    def ask(self, request: Request[Any]) -> None:
        """Sends a request. Raises Closed."""
        self._send({"do": request.do, **to_plain(request)})

    def read_request(self, known: dict[str, type[Request[Any]]]) -> Request[Any]:
        """The next request; waits for it. Raises Closed, or Garbled."""
        message = self._receive(None)
        try:
            return from_plain(known[message.pop("do")], message)
        except (ValueError, KeyError) as error:
            raise Garbled(f"no request: {error}") from error

    def send_answer(self, answer: Any) -> None:
        """Sends an answer, or Refused. Raises Closed."""
        self._send({"refused" if isinstance(answer, Refused) else "answer": to_plain(answer)})

    def read_answer(self, request: Request[A], timeout_s: float) -> A | Refused:
        """The answer to a request, waited for up to `timeout_s`. Raises Closed, TimedOut or Garbled."""
        message = self._receive(timeout_s)
        try:
            if "refused" in message:
                return from_plain(Refused, message["refused"])
            answer: A = from_plain(request.answer, message["answer"])
            return answer
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Garbled(f"no answer to {request.do}: {error}") from error

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._writing, data) :]
        except OSError as error:
            raise Closed from error

    def _receive(self, timeout_s: float | None) -> dict[str, Any]:
        line = self._line(math.inf if timeout_s is None else time.monotonic() + timeout_s)
        try:
            return message_in(line)
        except (ValueError, RecursionError) as error:
            raise Garbled(f"{line[:60]!r} is no message") from error

    def _line(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LONGEST_LINE:
                raise Garbled(f"{searched} bytes without the end of a message")
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._reading], [], [], None if math.isinf(left) else left)[0]
            if not ready:
                raise TimedOut
            data = os.read(self._reading, 1 << 16)
            if not data:
                raise Closed
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)
