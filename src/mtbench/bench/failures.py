"""Maps a library's error to a record's status; each library words its errors differently.

Read by the worker, of an exception, and by the controller, of what a worker printed before it died.
"""

import re

from mtbench.errors import Unsupported

MEMORY = re.compile(
    "|".join(
        (
            r"out ?of ?memory",  # CUDA, XLA; Metal's command buffers: kIOGPUCommandBufferCallbackErrorOutOfMemory
            r"insufficient memory",  # Metal's command buffers, in the same line
            r"unable to allocate",  # NumPy
            r"(?:not enough|can't allocate|cannot allocate) memory",  # torch on the CPU; the C library's ENOMEM
            r"invalid buffer size",  # torch's MPSAllocator, above the largest buffer of Metal
            r"metal::malloc\] (?:attempting to allocate|resource limit)",  # MLX's allocator on Metal
        )
    ),
    re.IGNORECASE,
)
"""An allocation that failed, in any library's words."""

NO_DEVICE = re.compile(r"no metal device|not currently implemented for the mps device", re.IGNORECASE)
"""MLX's error at its first operation where Metal gives it no device; torch's for an operator that it lacks on MPS."""


def status_of(error: Exception) -> str:
    """The status of a job that ended in this error: unsupported, oom or failed."""
    said = f"{type(error).__name__} {error}"
    if isinstance(error, Unsupported) or NO_DEVICE.search(said):
        return "unsupported"
    return "oom" if isinstance(error, MemoryError) or MEMORY.search(said) else "failed"


def aborted_for_memory(printed: str) -> str | None:
    """The line in which a process that was aborted said that memory had run out, or None."""
    return next((line.strip() for line in reversed(printed.splitlines()) if MEMORY.search(line)), None)
