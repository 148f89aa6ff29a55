"""For tests of signals: a process that hears them, whoever started the tests."""

import signal


def hear_signals() -> None:
    """To be called in a child before it becomes another program: nohup, and a shell's background, have some signals ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
