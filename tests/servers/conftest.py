"""Servers as processes of their own, on this machine alone."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def misbehaving(port: int = 0) -> Iterator[int]:
    """The port of a server of misbehaving.py, a free one by default."""
    command = [sys.executable, str(Path(__file__).with_name("misbehaving.py")), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def held_port() -> Iterator[int]:
    """A port that refuses connections, unless a server of ours takes it, and that the system gives to nobody else meanwhile."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as HTTPServer does, so that both may have it
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    with misbehaving() as found:
        yield found


@pytest.fixture
def seen(port: int) -> Callable[[], dict[str, Any]]:
    """What the server was asked so far."""

    def ask() -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/seen")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    return ask
