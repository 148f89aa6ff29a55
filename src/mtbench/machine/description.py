"""What this machine is: chip, cores, memory, GPU, system. The part of a record that says where it was measured."""

import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from mtbench import plain
from mtbench.machine import linux, macos, nvidia


def describe() -> dict[str, Any]:
    """The machine as plain values, fit for JSON. Never raises; what could not be read is None and named in `not_read`.

    chip: the processor's name. model: the vendor's name of the machine, where it is one (Macs). cores: `physical` and
    `logical` counts, and one count per kind where there are kinds (`super`, `performance`, `efficiency`).
    usable_cores: those this process may run on. memory_bytes. last_level_cache_bytes: all instances of the largest
    cache level that the system reports (macOS does not report Apple's system-level cache, so there it is L2). gpus: a
    list of name, and cores, memory or driver where known. os, os_version, kernel, architecture, python.
    virtualised: whether a hypervisor runs this system. power_source: mains or battery.
    """
    return {**_lasting(), "power_source": _attempt(power_source)}


def identity(description: dict[str, Any]) -> str:
    """Ten hexadecimal digits for the machine itself: the same after a reboot or an update of the system.

    Memory counts in whole GiB, rounded up, because a Linux kernel keeps a little for itself, and how much varies.
    """
    memory = description.get("memory_bytes")
    stable = {
        "chip": description.get("chip"),
        "cores": description.get("cores"),
        "memory_gib": None if memory is None else -(-memory // 2**30),
        "os": description.get("os"),
        "gpus": [gpu.get("name") for gpu in description.get("gpus") or []],
    }
    return plain.fingerprint(stable, 10)


def power_source() -> str:
    """mains or battery. A machine without a battery is on mains."""
    import psutil

    # psutil offers it only on systems where it knows how.
    battery = getattr(psutil, "sensors_battery", lambda: None)()
    return "battery" if battery is not None and battery.power_plugged is False else "mains"


@cache
def _lasting() -> dict[str, Any]:
    """Facts that do not change while a process runs; read once, as a driver may take a second to answer."""
    system = macos if sys.platform == "darwin" else linux
    probes: dict[str, Callable[[], Any]] = {
        "chip": system.chip,
        "model": system.model,
        "cores": lambda: _core_counts() | system.core_kinds(),
        "usable_cores": _usable_cores,
        "memory_bytes": _memory_bytes,
        "last_level_cache_bytes": system.last_level_cache_bytes,
        "gpus": lambda: system.gpus() + nvidia.gpus(),
        "os": lambda: "macOS" if sys.platform == "darwin" else platform.system(),
        "os_version": system.os_version,
        "kernel": platform.release,
        "architecture": platform.machine,
        "python": lambda: f"{platform.python_implementation()} {platform.python_version()}",
        "virtualised": system.virtualised,
    }
    not_read: list[str] = []
    facts = {name: _attempt(probe, name, not_read) for name, probe in probes.items()}
    return {**facts, "not_read": not_read}


def _attempt(probe: Callable[[], Any], name: str = "", not_read: list[str] | None = None) -> Any:
    """Reads a fact; an error must not end a sweep. Only the type of the error is kept: its text may hold a path."""
    try:
        return probe()
    except Exception as error:
        if not_read is not None:
            not_read.append(f"{name}: {type(error).__name__}")
        return None


def _core_counts() -> dict[str, int | None]:
    import psutil

    return {"physical": psutil.cpu_count(logical=False), "logical": psutil.cpu_count(logical=True)}


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
