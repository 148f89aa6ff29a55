"""The wire between controller and worker: one JSON message a line, over two pipes of its own.

A library may print what it likes to standard output; it cannot disturb the messages. JSON, since a worker may run under
another interpreter with other package versions. Reading blocks in the kernel: a process that waits burns no core while
another one is timed.
"""

import json
import math
import os
import select
import time
from typing import Any

Message = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


class TimedOut(Exception):
    """No message came in time."""


class Channel:
    """One end of the wire, over two file descriptors that it owns."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._buffer = bytearray()

    def send(self, message: Message) -> None:
        """Sends one message. Raises Closed."""
        data = json.dumps(_plain(message)).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._writing, data) :]
        except OSError as error:
            raise Closed from error

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message; waits for it, for ever where no timeout is given. Raises Closed or TimedOut."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while (end := self._buffer.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._reading], [], [], None if math.isinf(left) else max(left, 0.0))
            if not ready:
                raise TimedOut
            data = os.read(self._reading, 1 << 16)
            if not data:
                raise Closed
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: Message = json.loads(line)
        return message

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


def _plain(value: Any) -> Any:
    """JSON has no NaN; Python's writes one anyway, but other readers choke, so infinite and undefined become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
