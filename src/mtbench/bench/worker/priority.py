"""Sets the quality of service that decides which cores macOS gives a worker; an inherited one may be the background's."""

import ctypes
import sys
from typing import Any

USER_INITIATED = 0x19
"""QOS_CLASS_USER_INITIATED, pthread/qos.h: work that a person waits for, which performance cores do."""


def raise_priority(system: str = sys.platform, library: Any = None) -> None:
    """Asks for performance cores, for this thread and those that it makes. Where that is refused, or another system runs,
    nothing changes: the doctor tells of a process in the background."""
    if system != "darwin":
        return
    try:
        setter = (library or ctypes.CDLL(None)).pthread_set_qos_class_self_np
        setter.argtypes, setter.restype = [ctypes.c_uint, ctypes.c_int], ctypes.c_int
        setter(USER_INITIATED, 0)
    except (AttributeError, OSError):
        return
