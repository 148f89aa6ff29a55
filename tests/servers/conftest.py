"""Servers as processes of their own, on this machine alone."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def misbehaving() -> Iterator[int]:
    """The port of a server of misbehaving.py."""
    command = [sys.executable, str(Path(__file__).with_name("misbehaving.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


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
