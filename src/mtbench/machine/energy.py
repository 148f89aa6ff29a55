"""What a run costs in energy, from counters that need no administrator rights.

A counter's value means nothing by itself; the difference of two readings does. Counters move in steps (NVML's on an H100
every 0.1 s), so energy is measured over seconds, in a pass of its own, with the idle power taken off (71 W there).
"""

import importlib
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from mtbench.machine import macos, nvidia


class Reader(ABC):
    """A counter of energy. `covers` says what it counts, which differs so much between machines that it belongs beside
    every figure."""

    covers: str

    @abstractmethod
    def read_joule(self) -> float:
        """Energy used since some fixed moment before, in joules. Raises OSError where the counter is gone."""

    def standing(self) -> list[str]:
        """Counters that have not moved since this reader was made, though what they count cannot have been idle."""
        return []

    def close(self) -> None:  # noqa: B027
        """Gives the counter back."""


def reader(device: str, gpu: nvidia.Ordinal = nvidia.FIRST, root: Path = Path("/")) -> Reader | str:
    """The counter for work on a device (cpu, or gpu: which one), or why there is none here and what would help.

    On a Mac both are the same chip, so both count the whole of it.
    """
    system: str = sys.platform  # compared directly, the rest is unreachable to mypy on the other system
    if system == "darwin":
        return _open_apple()
    return _open_nvidia(root, gpu) if device == "gpu" else _open_rapl(root)


class NvidiaEnergy(Reader):
    """NVML's counter of a whole board, its memory included, since the driver was loaded: Volta and later."""

    covers = "GPU board"

    def __init__(self, gpu: nvidia.Gpu) -> None:
        self.gpu = gpu

    def read_joule(self) -> float:
        energy = self.gpu.energy_joule()
        if energy is None:
            raise OSError("NVML no longer gives the GPU's energy")
        return energy

    def close(self) -> None:
        self.gpu.close()


class RaplEnergy(Reader):
    """The processors' running average power limit counters (Intel, AMD), through Linux's powercap.

    Packages and their memory (`dram`) are counted; cores and graphics (`core`, `uncore`) are part of a package, and
    `psys` would count packages again. A counter wraps at `max_energy_range_uj`, on a busy server within a quarter of an
    hour, so `read_joule` must be called more often than that.
    """

    covers = "processor packages and memory, where it is counted"

    def __init__(self, domains: list[Path]) -> None:
        self.domains = domains
        self.ranges = [int((domain / "max_energy_range_uj").read_text()) for domain in domains]
        self.before = self._read()
        self.total = 0

    def read_joule(self) -> float:
        now = self._read()
        self.total += sum(
            (new - old) % (limit + 1) for new, old, limit in zip(now, self.before, self.ranges, strict=True)
        )
        self.before = now
        return self.total * 1e-6

    def _read(self) -> list[int]:
        return [int((domain / "energy_uj").read_text()) for domain in self.domains]


class AppleEnergy(Reader):
    """Apple's own energy model of its chip, by zeus-apple-silicon: the figures that powermetrics shows.

    Some releases of macOS move the processor's and the memory's counters only while powermetrics runs; a reader that
    sees such a counter stand still over seconds must say so, since both always use some energy: see `standing`.
    """

    covers = "chip and memory (CPU, GPU, Neural Engine), by Apple's model"
    # Fields of AppleEnergyMetrics in millijoules; cores and their managers are part of cpu_total_mj.
    FIELDS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor
        self.first = self._read()

    def read_joule(self) -> float:
        return sum(self._read().values()) * 1e-3

    def standing(self) -> list[str]:
        """The counters among `cpu_total_mj` and `dram_mj` that have not moved since this reader was made."""
        now = self._read()
        return [name for name in ("cpu_total_mj", "dram_mj") if name in now and now[name] == self.first.get(name)]

    def _read(self) -> dict[str, int]:
        try:
            metrics = self.monitor.get_cumulative_energy()
        except Exception as error:
            raise OSError(f"Apple's energy counters can no longer be read: {error}") from error
        values = {name: getattr(metrics, name, None) for name in self.FIELDS}
        return {name: value for name, value in values.items() if value is not None}


def _open_nvidia(root: Path, which: nvidia.Ordinal) -> Reader | str:
    gpu = nvidia.open_gpu(root=root, which=which)
    if gpu is None:
        return "there is no NVIDIA GPU here"
    if isinstance(gpu, str):
        return gpu
    if gpu.energy_joule() is None:
        gpu.close()
        return "this GPU has no energy counter; NVIDIA's have one from Volta on"
    return NvidiaEnergy(gpu)


def _open_rapl(root: Path) -> Reader | str:
    powercap = root / "sys/class/powercap"
    domains = sorted(path.parent for path in powercap.glob("intel-rapl:*/name") if _counts(path))
    if not domains:
        return "the kernel offers no energy counter (RAPL) here, which is usual in a virtual machine"
    try:
        return RaplEnergy(domains)
    except PermissionError:
        return (
            "the energy counter (RAPL) is readable by root only; to open it until the next start: "
            "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj "
            "(closed since 2020, because other programs' secrets can be guessed from it: CVE-2020-8694)"
        )
    except OSError as error:
        return f"the energy counter (RAPL) cannot be read: {error.strerror}"


def _counts(name: Path) -> bool:
    domain = name.read_text().strip()
    return domain.startswith("package") or domain == "dram"


def _open_apple() -> Reader | str:
    try:
        zeus = importlib.import_module("zeus_apple_silicon")
    except ModuleNotFoundError:
        if sys.version_info >= (3, 14):
            cure = "it has no wheel for Python 3.14 yet; use Python 3.13"
        else:
            cure = "install it with: pip install zeus-apple-silicon"
        return f"zeus-apple-silicon is not installed; {cure}"
    if "Ultra" in (macos.chip() or ""):
        return "zeus-apple-silicon counts only one of the two dies of an Ultra chip"
    try:
        apple = AppleEnergy(zeus.AppleEnergyMonitor())
    except Exception as error:  # of C++, under several names: RuntimeError, ValueError for a unit that it does not know
        return f"Apple's energy counters cannot be read: {error}"
    return apple if apple.first else "this Mac's energy counters are empty, which is usual in a virtual machine"
