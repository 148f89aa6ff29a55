"""Watches the machine during a run: what slows it down, sampled between cells, and never while one is timed."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.machine import linux, macos, nvidia
from mtbench.machine.description import power_source
from mtbench.machine.nvidia import Gpu, GpuReading


@dataclass(frozen=True)
class Reading:
    """One moment of the machine; None where it does not say.

    load: runnable tasks, mean over a minute. cpu_pressure: share of the last 10 s in which some task waited for a
    processor. cpu_throttled: whether heat slowed a processor down since the sample before. steal_fraction: of all
    processor time since the sample before, what a hypervisor gave to others. swapped_bytes: moved in or out since the
    sample before (on macOS, how much more is in use). thermal_state and thermal_pressure: macOS's words. power_source:
    mains or battery.
    """

    load: float | None = None
    cpu_pressure: float | None = None
    cpu_clock_hz: float | None = None
    cpu_temperature_celsius: float | None = None
    cpu_throttled: bool | None = None
    steal_fraction: float | None = None
    swap_used_bytes: int | None = None
    swapped_bytes: int | None = None
    thermal_state: str | None = None
    thermal_pressure: str | None = None
    low_power_mode: bool | None = None
    power_source: str | None = None
    gpu: GpuReading | None = None

    @property
    def thermal_flag(self) -> str | None:
        """Why what is measured now would be slowed down by heat, or None. After a flag a sweep should wait.

        macOS's "fair" and "moderate" are no flag: they come with any steady load.
        """
        if self.thermal_state in ("serious", "critical"):
            return f"macOS reports the thermal state '{self.thermal_state}'"
        if self.thermal_pressure in ("heavy", "trapping", "sleeping"):
            return f"macOS reports the thermal pressure '{self.thermal_pressure}'"
        if self.cpu_throttled:
            return "a processor was slowed down for its heat"
        hot = [reason for reason in (self.gpu and self.gpu.throttle_reasons) or () if reason in nvidia.THERMAL_REASONS]
        return f"the GPU's clocks are held back ({', '.join(hot)})" if hot else None


class Watch:
    """Samples the machine. Two samples make a difference, so the first has no steal, swapping or throttling.

    One sample takes 0.3 ms on a small virtual Linux machine, and 3 ms with 16 cores and an H100, most of it NVML's.
    """

    def __init__(self, root: Path = Path("/"), gpu: Gpu | str | None = None) -> None:
        self.root = root
        opened = nvidia.open_gpu(root=root) if gpu is None else gpu
        self.gpu = opened if isinstance(opened, Gpu) else None
        self.gpu_unseen = opened if isinstance(opened, str) else None  # why a GPU that is there is not watched
        self._before: dict[str, int] = {}
        self._macos = _Macos() if sys.platform == "darwin" else None

    def close(self) -> None:
        if self.gpu is not None:
            self.gpu.close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sample(self) -> Reading:
        """The machine now, and what happened to it since the sample before."""
        seen = self._sample_linux() if self._macos is None else self._macos.sample()
        swapped = self._since("swapped_bytes", seen.pop("swapped_bytes", None))
        return Reading(
            load=os.getloadavg()[0],
            power_source=power_source(),
            swapped_bytes=None if swapped is None else max(0, swapped),
            gpu=self.gpu.read() if self.gpu is not None else None,
            **seen,
        )

    def _sample_linux(self) -> dict[str, Any]:
        root = self.root
        total, stolen = linux.cpu_times(root) or (None, None)
        ticks, stolen_ticks = self._since("ticks", total), self._since("stolen", stolen)
        throttled = self._since("throttled", linux.throttle_count(root))
        swap_used, swapped = linux.swap(root) or (None, None)
        return {
            "cpu_pressure": linux.cpu_pressure(root),
            "cpu_clock_hz": linux.cpu_clock_hz(root),
            "cpu_temperature_celsius": linux.temperature_celsius(root),
            "cpu_throttled": None if throttled is None else throttled > 0,
            "steal_fraction": None if not ticks or stolen_ticks is None else max(0.0, stolen_ticks / ticks),
            "swap_used_bytes": swap_used,
            "swapped_bytes": swapped,
            "low_power_mode": linux.low_power_mode(root),
        }

    def _since(self, name: str, count: int | None) -> int | None:
        """How far a counter has come since the sample before."""
        before = self._before.get(name)
        if count is not None:
            self._before[name] = count
        return None if before is None or count is None else count - before


class _Macos:
    """What macOS says of itself, asked through objects that are made once."""

    def __init__(self) -> None:
        self.info = macos.process_info()
        self.pressure = macos.ThermalPressure()

    def sample(self) -> dict[str, Any]:
        import psutil

        swap = psutil.swap_memory()
        return {
            "thermal_state": None if self.info is None else macos.thermal_state(self.info),
            "thermal_pressure": self.pressure.read(),
            "low_power_mode": macos.low_power_mode(self.info),
            "swap_used_bytes": swap.used,
            # Its growth: psutil's own counters of pages in and out hold every file read as well on macOS.
            "swapped_bytes": swap.used,
        }
