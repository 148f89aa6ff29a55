"""What is sampled of a Mac during a run, through interfaces that are opened once and need no administrator rights."""

import json
import os
import plistlib
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from mtbench.machine import macos

MEMORY_PRESSURES = {1: "normal", 2: "warning", 4: "critical"}
"""kern.memorystatus_vm_pressure_level, as DISPATCH_MEMORYPRESSURE_NORMAL, _WARN and _CRITICAL number them."""

POWER_MODES = {0: "automatic", 1: "low", 2: "high"}
"""pmset's `powermode`."""

PMSET_KEPT_S = 60.0
"""How long pmset's answer is kept: its owner chooses a mode by hand, and asking takes some hundredths of a second."""

SENSORS_TIMEOUT_S = 2.0


class Sampler:
    """One probe for each thing that macOS says of itself; each may fail without the others."""

    def __init__(self, sensors: "Sensors | None" = None) -> None:
        self.info = macos.process_info()
        self._pressure: macos.ThermalPressure | None = None
        self.sensors = Sensors() if sensors is None else sensors
        self._pmset: tuple[float, str] | None = None
        self._swap_used: int | None = None
        self.probes: Mapping[str, Callable[[], Any]] = {
            "thermal_state": lambda: None if self.info is None else macos.thermal_state(self.info),
            "thermal_pressure": self._thermal_pressure,
            "low_power_mode": lambda: macos.low_power_mode(self.info, self._power_settings),
            "power_mode": lambda: parse_power_mode(self._power_settings()),
            "memory_pressure": memory_pressure,
            "swap_used_bytes": self._swap,
            # The growth of swap: on macOS, psutil's own counters of pages in and out also count every file that is read.
            "swapped_bytes": lambda: self._swap_used,
            "gpu_load": gpu_load,
            "sensors": self.sensors.read,
        }

    def close(self) -> None:
        self.sensors.close()

    def _thermal_pressure(self) -> str | None:
        if self._pressure is None:
            self._pressure = macos.ThermalPressure()
        return self._pressure.read()

    def _swap(self) -> int:
        import psutil

        self._swap_used = None
        self._swap_used = int(psutil.swap_memory().used)
        return self._swap_used

    def _power_settings(self) -> str:
        if self._pmset is None or time.monotonic() - self._pmset[0] > PMSET_KEPT_S:
            self._pmset = time.monotonic(), ""  # one that does not answer is not asked by the next probe again
            self._pmset = time.monotonic(), macos.output("/usr/bin/pmset", "-g")
        return self._pmset[1]


class Sensors:
    """The process that reads Apple's sensors, started at the first question and left waiting between two."""

    def __init__(self, command: list[str] | None = None) -> None:
        self.command = command or [sys.executable, "-m", "mtbench.machine.apple_sensors"]
        self._process: subprocess.Popen[str] | None = None

    def read(self) -> dict[str, float | None]:
        """Fields of a Reading. Raises OSError where the process ended or does not answer in time."""
        if self._process is None:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        if process.poll() is not None:
            raise OSError("the sensors' process has ended")
        process.stdin.write("\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], SENSORS_TIMEOUT_S)[0]:
            process.kill()  # a late answer would be taken for the next one
            raise TimeoutError("the sensors do not answer")
        answer = json.loads(process.stdout.readline() or "null")
        if not isinstance(answer, dict):
            raise OSError("the sensors' process has ended")
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def parse_power_mode(text: str) -> str | None:
    """The mode in pmset's list, or None on a Mac that has no choice."""
    found = re.search(r"^\s*powermode\s+(\d)\s*$", text, re.MULTILINE)
    return POWER_MODES.get(int(found.group(1))) if found else None


def memory_pressure() -> str | None:
    """normal, warning or critical: macOS compresses memory before it swaps, so that swap alone shows a shortage late."""
    level = macos.output("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level").strip()
    return MEMORY_PRESSURES.get(int(level)) if level.isdecimal() else None


def gpu_load() -> float | None:
    """The share of the last moment in which the GPU worked, by its driver."""
    return parse_gpu_load(macos.output("/usr/sbin/ioreg", "-a", "-r", "-d", "1", "-c", "IOAccelerator"))


def parse_gpu_load(text: str) -> float | None:
    """The I/O Registry's `PerformanceStatistics`; None where no driver keeps it."""
    entries = plistlib.loads(text.encode()) if text.strip() else []
    loads = [entry.get("PerformanceStatistics", {}).get("Device Utilization %") for entry in entries]
    return max((load / 100 for load in loads if isinstance(load, int | float)), default=None)


def background() -> bool | None:
    """Whether this process was put in the background (taskpolicy -b, launchd's Background): on efficiency cores alone.

    getpriority(2), PRIO_DARWIN_PROCESS: 1 for a process in the background.
    """
    getpriority = getattr(os, "getpriority", None)
    try:
        return None if getpriority is None else bool(getpriority(4, 0))
    except OSError:
        return None
