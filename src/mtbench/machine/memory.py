"""How much memory is free for a program now, without taking it from others: `available` on each system.

Uses the standard library only, where possible, since workers ask, too.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtbench.machine import linux, macos

_ROOT = Path("/")

UNLIMITED = 1 << 60
"""Above this, a limit of a control group (version 1) is none: it is the largest number that the kernel has."""


def available_bytes(root: Path = _ROOT, system: str = sys.platform) -> int:
    """Bytes that can be had without swapping: macOS's own count, Linux's within the limits of its control groups, else
    psutil's."""
    found = None
    if system == "darwin":
        try:
            found = parse_vm_stat(macos.output("/usr/bin/vm_stat"))
        except Exception:  # a machine that answers oddly must not end a sweep
            found = None
    elif system == "linux":
        found = min([*_system_wide(root), *cgroup_rooms(root)], default=None)
    if found is not None:
        return found
    import psutil

    return int(psutil.virtual_memory().available)


def parse_vm_stat(text: str) -> int | None:
    """free + purgeable + file-backed pages of vm_stat(1), in bytes; None where one is missing.

    psutil's `available` is free + inactive: inactive pages are to a large part programs' own, which macOS would have to
    compress, while cached files in active pages are left out.
    """
    size = re.search(r"page size of (\d+) bytes", text)
    counts = dict(re.findall(r'^"?([A-Z][\w -]*?)"?:\s+(\d+)\.$', text, re.MULTILINE))
    wanted = [counts.get(name) for name in ("Pages free", "Pages purgeable", "File-backed pages")]
    if size is None or any(count is None for count in wanted):
        return None
    return int(size.group(1)) * sum(int(count) for count in wanted if count is not None)


def _system_wide(root: Path) -> Iterator[int]:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", linux.text(root / "proc/meminfo") or "", re.MULTILINE)
    if found:
        yield int(found.group(1)) * 1024


def cgroup_rooms(root: Path = _ROOT) -> Iterator[int]:
    """What each limit on this process's control groups still leaves, in bytes: a container's, or that of a batch system.

    Documentation/admin-guide/cgroup-v2.rst: above memory.max a process is killed, above memory.high stopped and reclaimed
    from. Cached files count as used, and are given up first.
    """
    for line in (linux.text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for group in _up(root / "sys/fs/cgroup", path):
                limits = [linux.number(group / name) for name in ("memory.max", "memory.high")]
                yield from _rooms(group, limits, linux.number(group / "memory.current"))
        elif "memory" in controllers.split(","):
            for group in _up(root / "sys/fs/cgroup/memory", path):
                yield from _rooms(
                    group,
                    [linux.number(group / "memory.limit_in_bytes")],
                    linux.number(group / "memory.usage_in_bytes"),
                )


def _up(mount: Path, path: str) -> Iterator[Path]:
    """A control group and its parents. In a container the path may be the host's, which does not exist inside."""
    group = mount / path.lstrip("/")
    if not group.is_dir():
        group = mount
    while True:
        yield group
        if group == mount:
            return
        group = group.parent


def _rooms(group: Path, limits: Sequence[int | None], used: int | None) -> Iterator[int]:
    cached = re.findall(r"^(?:in)?active_file (\d+)", linux.text(group / "memory.stat") or "", re.MULTILINE)
    for limit in limits:
        if limit is not None and limit < UNLIMITED and used is not None:
            yield max(0, limit - max(0, used - sum(map(int, cached))))
