"""Reads macOS without administrator rights: sysctl(8), ioreg(8), pmset(1), NSProcessInfo and notify(3).

The names of sysctl are those of Apple's "Determining system capabilities" (developer.apple.com/documentation/kernel).
Levels count from the fastest cores down; what they are called varies with the chip (Super, Performance, Efficiency).
"""

import ctypes
import platform
import plistlib
import re
import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

_LEVELS = tuple(
    f"hw.perflevel{level}.{name}" for level in range(3) for name in ("name", "physicalcpu", "l2cachesize", "cpusperl2")
)
_NAMES = (
    "machdep.cpu.brand_string",
    "hw.model",
    "hw.nperflevels",
    "hw.l2cachesize",
    "hw.l3cachesize",
    "kern.hv_vmm_present",
    "kern.osproductversion",
    "sysctl.proc_translated",
    *_LEVELS,
)


@cache
def sysctl() -> dict[str, str]:
    """The values that this module asks for; names that this Mac does not know are absent."""
    return parse_sysctl(output("/usr/sbin/sysctl", "-i", *_NAMES))


def parse_sysctl(text: str) -> dict[str, str]:
    """`name: value` lines."""
    return dict(re.findall(r"^([\w.]+): (.+)$", text, re.MULTILINE))


def output(*command: str) -> str:
    """What a command prints. Raises OSError or subprocess.TimeoutExpired; a non-zero exit code is left to the reader."""
    finished = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False, stdin=subprocess.DEVNULL)
    return finished.stdout


def chip(values: dict[str, str] | None = None) -> str | None:
    """Such as "Apple M1 Pro"."""
    return (sysctl() if values is None else values).get("machdep.cpu.brand_string")


def model(values: dict[str, str] | None = None) -> str | None:
    """Apple's identifier of the kind of machine, such as "MacBookPro18,3": it tells fanless ones from others."""
    return (sysctl() if values is None else values).get("hw.model")


def core_kinds(values: dict[str, str] | None = None) -> dict[str, int]:
    """Physical cores by kind, such as performance and efficiency; empty on an Intel Mac."""
    values = sysctl() if values is None else values
    return {
        values[f"hw.perflevel{level}.name"].lower(): int(values[f"hw.perflevel{level}.physicalcpu"])
        for level in range(int(values.get("hw.nperflevels", 0)))
        if f"hw.perflevel{level}.name" in values
    }


def last_level_cache_bytes(values: dict[str, str] | None = None) -> int | None:
    """L3 on an Intel Mac; on Apple silicon the L2 of the fastest clusters together, as the system-level cache behind it
    is not reported."""
    values = sysctl() if values is None else values
    if int(values.get("hw.l3cachesize", 0)):
        return int(values["hw.l3cachesize"])
    if "hw.perflevel0.l2cachesize" in values:
        cores, per_cluster = (int(values.get(f"hw.perflevel0.{name}", 1)) for name in ("physicalcpu", "cpusperl2"))
        clusters = -(-cores // per_cluster)
        return clusters * int(values["hw.perflevel0.l2cachesize"])
    return int(values["hw.l2cachesize"]) if "hw.l2cachesize" in values else None


def gpus() -> list[dict[str, Any]]:
    """Apple's own GPU with its core count; those of Intel Macs are not told apart."""
    return parse_gpus(output("/usr/sbin/ioreg", "-a", "-r", "-d", "1", "-c", "AGXAccelerator"))


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """An I/O Registry archive: a property list of one dictionary per accelerator, or nothing where there is none."""
    entries = plistlib.loads(text.encode()) if text.strip() else []
    return [
        {"name": f"{entry['model']} GPU", "cores": entry.get("gpu-core-count")} for entry in entries if "model" in entry
    ]


def os_version(values: dict[str, str] | None = None) -> str | None:
    """Such as "15.5". Python itself is told 16 on macOS 26 where it was built with an older SDK (cpython#135675)."""
    return (sysctl() if values is None else values).get("kern.osproductversion") or platform.mac_ver()[0] or None


def virtualised(values: dict[str, str] | None = None) -> bool | None:
    """Whether this macOS runs in a virtual machine."""
    present = (sysctl() if values is None else values).get("kern.hv_vmm_present")
    return None if present is None else present == "1"


def translated(values: dict[str, str] | None = None) -> bool:
    """Whether this Python is an Intel program that Rosetta translates on Apple silicon."""
    return (sysctl() if values is None else values).get("sysctl.proc_translated") == "1"


# Foundation, NSProcessInfoThermalState, 0 to 3.
THERMAL_STATES = ("nominal", "fair", "serious", "critical")

# What powermetrics(1) calls the levels of kOSThermalNotificationPressureLevelName, 0 to 4.
THERMAL_PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")


def process_info() -> Any:
    """Foundation's NSProcessInfo, or None where pyobjc-framework-Cocoa is not installed."""
    try:
        from Foundation import NSProcessInfo
    except ModuleNotFoundError:
        return None
    return NSProcessInfo.processInfo()


def thermal_state(info: Any) -> str:
    """What Apple documents, in four steps. Its "fair" covers a Mac that is warm and one that is slowed down already, so
    that `thermal_pressure` tells more."""
    return _named(THERMAL_STATES, int(info.thermalState()))


class ThermalPressure:
    """The kernel's thermal pressure, in five steps, by notify(3): it throttles from "heavy" on.

    The name is not documented by Apple, only the interface; where it is gone, `read` returns None.
    """

    def __init__(self, system: Any = None) -> None:
        self.system = system or ctypes.CDLL(None)
        self.token = ctypes.c_int()
        name = b"com.apple.system.thermalpressurelevel"
        self.registered = self.system.notify_register_check(name, ctypes.byref(self.token)) == 0

    def read(self) -> str | None:
        level = ctypes.c_uint64()
        if not self.registered or self.system.notify_get_state(self.token, ctypes.byref(level)) != 0:
            return None
        return _named(THERMAL_PRESSURES, level.value)


def low_power_mode(info: Any, power_settings: Callable[[], str]) -> bool | None:
    """Low Power Mode, from NSProcessInfo (macOS 12 and later), else from what `pmset -g` prints."""
    if info is not None and hasattr(info, "isLowPowerModeEnabled"):
        return bool(info.isLowPowerModeEnabled())
    return parse_low_power_mode(power_settings())


def parse_low_power_mode(text: str) -> bool | None:
    """pmset's `lowpowermode`, or the newer `powermode`, whose 1 is low power and 2 high power."""
    values = dict(re.findall(r"^\s*(lowpowermode|powermode)\s+(\d)\s*$", text, re.MULTILINE))
    return "1" in values.values() if values else None


def _named(names: tuple[str, ...], level: int) -> str:
    return names[level] if level < len(names) else f"unknown ({level})"
