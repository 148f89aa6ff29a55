"""Samples what slows the machine down, between cells and never while one is timed."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtbench.machine import linux, nvidia
from mtbench.machine.description import power_source
from mtbench.machine.macos_watch import Sampler
from mtbench.machine.nvidia import FIRST, Gpu, GpuReading, Ordinal
from mtbench.machine.sleep import SleepClock

HEAT = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""Levels of heat, by the names that macOS has for them; from "heavy" on, it slows the machine down."""

TRIES = 3
"""A probe that has failed this often is not asked again: one that answers late costs seconds each time."""


@dataclass(frozen=True)
class Reading:
    """One moment of the machine; None where it does not say.

    taken_at: UTC, ISO 8601. load: runnable tasks, mean over a minute. cpu_pressure: share of the last 10 s in which some task
    waited for a processor. cpu_throttled: whether heat slowed a processor down since the sample before. steal_fraction: of all
    processor time since the sample before, what a hypervisor gave to others. swapped_bytes: moved in or out since the
    sample before (on macOS, how much more is in use). thermal_state, thermal_pressure and memory_pressure: macOS's words.
    power_source: mains or battery. power_mode: low, automatic or high, as macOS lets its owner choose. gpu_load: share of the
    last moment in which something ran on the GPU. gpu_clock_hz: its mean clock while it worked, since the sample before (on
    macOS; `gpu` has an NVIDIA GPU's of this moment). slept_s: seconds of sleep since the sample before.
    """

    taken_at: str | None = None
    load: float | None = None
    cpu_pressure: float | None = None
    cpu_clock_hz: float | None = None
    cpu_temperature_celsius: float | None = None
    cpu_throttled: bool | None = None
    steal_fraction: float | None = None
    swap_used_bytes: int | None = None
    swapped_bytes: int | None = None
    memory_pressure: str | None = None
    thermal_state: str | None = None
    thermal_pressure: str | None = None
    low_power_mode: bool | None = None
    power_mode: str | None = None
    power_source: str | None = None
    gpu_load: float | None = None
    gpu_clock_hz: float | None = None
    gpu_temperature_celsius: float | None = None
    gpu: GpuReading | None = None
    slept_s: float | None = None

    @property
    def heat(self) -> str:
        """The level of HEAT, whoever says it. macOS's "fair" and "moderate" come with any steady load."""
        levels = [self.thermal_pressure] if self.thermal_pressure in HEAT else []
        levels += {"fair": ["moderate"], "serious": ["heavy"], "critical": ["trapping"]}.get(
            self.thermal_state or "", []
        )
        levels += ["heavy"] if self.cpu_throttled or self.hot_gpu else []
        return max(levels, key=HEAT.index, default="nominal")

    @property
    def hot_gpu(self) -> tuple[str, ...]:
        """Why an NVIDIA GPU's clocks are held back, as far as that is heat."""
        return tuple(
            reason for reason in (self.gpu and self.gpu.throttle_reasons) or () if reason in nvidia.THERMAL_REASONS
        )

    @property
    def thermal_flag(self) -> str | None:
        """Why what is measured now would be slowed down by heat, or None. After a flag a sweep should wait."""
        if self.thermal_state in ("serious", "critical"):
            return f"macOS reports the thermal state '{self.thermal_state}'"
        if self.thermal_pressure in ("heavy", "trapping", "sleeping"):
            return f"macOS reports the thermal pressure '{self.thermal_pressure}'"
        if self.cpu_throttled:
            return "a processor was slowed down for its heat"
        return f"the GPU's clocks are held back ({', '.join(self.hot_gpu)})" if self.hot_gpu else None


class Watch:
    """Samples the machine. Two samples make a difference, so the first has no steal, swapping, sleep or throttling.

    One sample takes 0.3 ms on a small virtual Linux machine, and 3 ms with 16 cores and an H100, most of it NVML's. A probe
    that fails leaves None in the reading and its name, once, in `not_read`: nothing here ends a sweep.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        gpu: Gpu | str | None = None,
        sleep: SleepClock | None = None,
        open_gpu: Callable[[Ordinal], Gpu | str | None] | None = None,
    ) -> None:
        self.root = root
        self._open_gpu = open_gpu or (lambda which: nvidia.open_gpu(root=root, which=which))
        opened = self._open_gpu(FIRST) if gpu is None else gpu
        self.gpu = opened if isinstance(opened, Gpu) else None  # the first that is visible
        self._gpus: dict[Ordinal, Gpu | None] = {FIRST: self.gpu}
        self.gpu_unseen = opened if isinstance(opened, str) else None  # why a GPU that is there is not watched
        self.not_read: list[str] = []
        self._failures: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._sleep = sleep or SleepClock()
        self._sampled = False
        system = sys.platform
        self._macos = Sampler() if system == "darwin" else None

    def close(self) -> None:
        for gpu in self._gpus.values():
            if gpu is not None:
                gpu.close()
        if self._macos is not None:
            self._macos.close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def gpu_of(self, which: Ordinal) -> Gpu | None:
        """An NVIDIA GPU, opened when it is first asked for; None where it cannot be read."""
        if which not in self._gpus:
            opened = self._open_gpu(which)
            self._gpus[which] = opened if isinstance(opened, Gpu) else None
        return self._gpus[which]

    def on_gpu(self, reading: Reading, which: Ordinal) -> Reading:
        """A reading that was just taken, with the state of this GPU in place of the first one's."""
        if which == FIRST or self.gpu is None:
            return reading
        gpu = self.gpu_of(which)
        nothing: dict[str, Any] = {"gpu": None, "gpu_load": None}
        said = nothing if gpu is None else self._ask({"gpu": gpu.read, "gpu_load": gpu.utilisation})
        return replace(reading, **said)

    def identity_of(self, which: Ordinal) -> str | None:
        """What tells an NVIDIA GPU from others, without its serial number; None where that cannot be read."""
        gpu = self.gpu_of(which)
        return None if gpu is None else self._ask({"gpu_id": gpu.identity})["gpu_id"]

    def sample_with(self, gpus: Sequence[Ordinal]) -> list[Reading]:
        """One sample, once for each of these GPUs."""
        reading = self.sample()
        return [self.on_gpu(reading, which) for which in gpus]

    def sample(self) -> Reading:
        """The machine now with the first GPU, and what happened to it since the sample before."""
        seen = self._ask(self._macos.probes if self._macos is not None else self._linux_probes())
        sensed = seen.pop("sensors", None) or {}
        seen = self._since_before(seen) if self._macos is None else seen | sensed
        seen |= self._ask(
            {
                "load": lambda: os.getloadavg()[0],
                "power_source": power_source,
                **({} if self.gpu is None else {"gpu": self.gpu.read, "gpu_load": self.gpu.utilisation}),
            }
        )
        swapped = self._since("swapped_bytes", seen.pop("swapped_bytes", None))
        slept, sampled, self._sampled = self._sleep.slept_s(), self._sampled, True
        return Reading(
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            swapped_bytes=None if swapped is None else max(0, swapped),
            slept_s=slept if sampled else None,
            **seen,
        )

    def _linux_probes(self) -> dict[str, Callable[[], Any]]:
        root = self.root
        return {
            "cpu_times": lambda: linux.cpu_times(root),
            "throttled": lambda: linux.throttle_count(root),
            "swap": lambda: linux.swap(root),
            "cpu_pressure": lambda: linux.cpu_pressure(root),
            "cpu_clock_hz": lambda: linux.cpu_clock_hz(root),
            "cpu_temperature_celsius": lambda: linux.temperature_celsius(root),
            "low_power_mode": lambda: linux.low_power_mode(root),
            "gpu_load": lambda: linux.gpu_load(root),
            "gpu_temperature_celsius": lambda: linux.gpu_temperature_celsius(root),
        }

    def _since_before(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Linux's counters as differences from the previous sample."""
        total, stolen = seen.pop("cpu_times") or (None, None)
        ticks, stolen_ticks = self._since("ticks", total), self._since("stolen", stolen)
        throttled = self._since("throttled", seen.pop("throttled"))
        swap_used, swapped = seen.pop("swap") or (None, None)
        return {
            **seen,
            "cpu_throttled": None if throttled is None else throttled > 0,
            "steal_fraction": None if not ticks or stolen_ticks is None else max(0.0, stolen_ticks / ticks),
            "swap_used_bytes": swap_used,
            "swapped_bytes": swapped,
        }

    def _ask(self, probes: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """The answer of each probe; None if it fails, as system calls sometimes do for a moment."""
        answers: dict[str, Any] = {}
        for name, probe in probes.items():
            answers[name] = None
            if self._failures.get(name, 0) < TRIES:
                try:
                    answers[name] = probe()
                except Exception as error:  # its text may hold a path: the type has to do
                    if name not in self._failures:
                        self.not_read.append(f"{name}: {type(error).__name__}")
                    self._failures[name] = self._failures.get(name, 0) + 1
        return answers

    def _since(self, name: str, count: int | None) -> int | None:
        """How much a counter has grown since the previous sample."""
        before = self._before.get(name)
        if count is not None:
            self._before[name] = count
        return None if before is None or count is None else count - before
