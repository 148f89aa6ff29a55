"""Which processors this process may use, and how they are dealt out to parts of a sweep that run side by side.

Linux only: macOS has no call that keeps a process on chosen processors.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtbench.machine import linux

_ROOT = Path("/")


def keep_on(processors: Iterable[int]) -> None:
    """Keeps this process, and all that it starts from now on, on these processors. Raises OSError where one is not there or
    may not be used, or the system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("this system cannot keep a process on chosen processors")
    os.sched_setaffinity(0, processors)


def usable() -> set[int]:
    """The processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores(processors: Iterable[int], root: Path = _ROOT) -> list[tuple[int, ...]]:
    """Processors by core, neighbours together: by the memory that is near (NUMA), then by number.

    Hardware threads of one core share its units, so that two measurements on them would disturb each other.
    """
    found: dict[tuple[int, ...], int] = {}
    usable = set(processors)
    for number in sorted(usable):
        folder = root / f"sys/devices/system/cpu/cpu{number}"
        listed = linux.cpu_list(linux.text(folder / "topology/thread_siblings_list") or str(number))
        core = tuple(sorted((listed | {number}) & usable))
        if core not in found:
            found[core] = _node(folder)
    return sorted(found, key=lambda core: (found[core], core))


def dealt(cores: Sequence[tuple[int, ...]], parts: int) -> list[tuple[int, ...]]:
    """The processors of each of `parts` parts: whole cores, equally many, in order. Cores that are left over stay idle, so that
    no part has more than another. Empty lists where there are fewer cores than parts."""
    each = len(cores) // parts
    return [
        tuple(sorted(cpu for core in cores[part * each : (part + 1) * each] for cpu in core)) for part in range(parts)
    ]


def _node(folder: Path) -> int:
    """The NUMA node of a processor; 0 where there are none."""
    return min((int(path.name.removeprefix("node")) for path in folder.glob("node[0-9]*")), default=0)
