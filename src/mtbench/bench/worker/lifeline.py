"""Ends a worker when its controller ends, even in a call that hangs. A worker that waits for a request sees its pipe closed.
One that computes would go on for ever, and nobody would know what takes the processor."""

import ctypes
import os
import platform
import select
import signal
import threading
import time
from typing import Any

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux."""

LOOKS_S = 1.0
"""Between two looks for the controller, where the system can only be asked."""


def hold(pipe: int) -> None:
    """From now on this process ends when its parent does. `pipe` is the descriptor of which the parent has the other end."""
    parent = os.getppid()
    if not _told_by_linux():
        threading.Thread(target=_wait, args=(parent,), daemon=True).start()
    if _is_closed(pipe):  # the parent ended before we could say so
        os._exit(1)


def _told_by_linux() -> bool:
    """Has the kernel kill us with the thread that started us, whatever we are doing. False where it cannot."""
    if platform.system() != "Linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _wait(parent: int) -> None:
    """Waits for the parent's end in the kernel, where there is a kqueue (macOS), and else looks now and then. To end the
    process it needs the GIL, so it cannot end a call that never releases that."""
    system: Any = select  # of which mypy sees this machine's part
    if hasattr(system, "kqueue"):
        queue = system.kqueue()
        ends = system.kevent(parent, system.KQ_FILTER_PROC, system.KQ_EV_ADD, system.KQ_NOTE_EXIT)
        try:
            while not queue.control([ends], 1):
                pass
        except ProcessLookupError:  # it is gone
            pass
    else:
        while os.getppid() == parent:
            time.sleep(LOOKS_S)
    os._exit(1)


def _is_closed(pipe: int) -> bool:
    asked = select.poll()
    asked.register(pipe, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in asked.poll(0))
