"""Reads NVIDIA's GPUs: the driver's files for their names, NVML (nvidia-ml-py) for all that changes."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench import plain

_ROOT = Path("/")

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs CUDA programs find, and in which order."""

# nvml.h, nvmlClocksEventReason*. What the clocks are held back by; being idle and the owner's settings are no fault.
REASONS = {
    0x002: "clocks set by the owner",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal, by software",
    0x040: "thermal, by hardware",
    0x080: "power brake",
    0x100: "display clock setting",
}
THERMAL_REASONS = (REASONS[0x020], REASONS[0x040])
SLOWDOWN_REASONS = (*THERMAL_REASONS, REASONS[0x008], REASONS[0x080])


def gpus(root: Path = _ROOT) -> list[dict[str, Any]]:
    """Name and driver version of each GPU, from the cheapest source there is; empty where there is none.

    The driver's own file is read at once; NVML takes tens of milliseconds to start, and nvidia-smi up to seconds where
    the driver is not kept loaded.
    """
    driver = _driver(root)
    if driver is None:
        return []
    names = [_model(file) for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))]
    if not any(names):
        names = _names_from_nvml() or _names_from_smi()
    return [{"name": name, "driver": driver} for name in names if name]


def visible(root: Path = _ROOT) -> list[str]:
    """The GPUs that CUDA programs started from here find, in CUDA's order, as the variable names them."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return [str(number) for number in range(len(gpus(root)))]
    return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]


@dataclass(frozen=True)
class Ordinal:
    """A GPU by CUDA's number among those that are visible: by `visible`, in the form of CUDA_VISIBLE_DEVICES, or by this
    process's own variable where that is None."""

    number: int = 0
    visible: str | None = None


FIRST = Ordinal()


@dataclass(frozen=True)
class GpuReading:
    """One moment of a GPU; None where it does not say. `throttle_reasons` are values of REASONS."""

    clock_hz: float | None  # of the multiprocessors
    max_clock_hz: float | None
    memory_clock_hz: float | None
    temperature_celsius: float | None
    power_watt: float | None
    throttle_reasons: tuple[str, ...] | None


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on the GPU. `memory_bytes` is None where the driver does not say, as in a container."""

    pid: int
    memory_bytes: int | None


class Gpu:
    """A GPU through NVML, which stays open until `close`."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml = nvml
        self.handle = handle

    def close(self) -> None:
        self.nvml.nvmlShutdown()

    def identity(self) -> str | None:
        """Six hexadecimal digits that tell this card from others: of its UUID, which itself is left alone."""
        uuid = self._ask(self.nvml.nvmlDeviceGetUUID)
        return None if uuid is None else plain.fingerprint(str(uuid), 6)

    def read(self) -> GpuReading:
        nvml, ask = self.nvml, self._ask
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return GpuReading(
            clock_hz=_times(1e6, ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)),
            max_clock_hz=_times(1e6, ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM)),
            memory_clock_hz=_times(1e6, ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM)),
            temperature_celsius=_times(1.0, ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)),
            power_watt=_times(1e-3, ask(nvml.nvmlDeviceGetPowerUsage)),
            throttle_reasons=None if reasons is None else throttle_reasons(reasons),
        )

    def energy_joule(self) -> float | None:
        """What the board has used since its driver was loaded; None before Volta."""
        return _times(1e-3, self._ask(self.nvml.nvmlDeviceGetTotalEnergyConsumption))

    def processes(self) -> list[GpuProcess]:
        """Those that compute; a desktop's drawing does not count."""
        running = self._ask(self.nvml.nvmlDeviceGetComputeRunningProcesses) or []
        return [GpuProcess(int(process.pid), process.usedGpuMemory) for process in running]

    def utilisation(self) -> float | None:
        """The share of the last moments (up to a second) in which something ran on the GPU, whoever started it."""
        rates = self._ask(self.nvml.nvmlDeviceGetUtilizationRates)
        return None if rates is None else rates.gpu / 100

    def _ask(self, question: Any, *details: Any) -> Any:
        """The answer to a query; None if this board or virtual machine has none."""
        try:
            return question(self.handle, *details)
        except self.nvml.NVMLError:
            return None


def open_gpu(nvml: Any = None, root: Path = _ROOT, which: Ordinal = FIRST) -> Gpu | str | None:
    """A GPU, or why it cannot be read, or None where there is no NVIDIA GPU here."""
    if nvml is None:
        if _driver(root) is None:
            return None
        try:
            import pynvml
        except ModuleNotFoundError:
            return "nvidia-ml-py is not installed; install it with: pip install nvidia-ml-py"
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"NVML does not start: {error}"
    try:
        return Gpu(nvml, _handle(nvml, which))
    except (nvml.NVMLError, ValueError) as error:
        nvml.nvmlShutdown()
        return f"NVML does not give the GPU: {error}"


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """The names of the reasons in NVML's bit field."""
    return tuple(name for bit, name in REASONS.items() if bits & bit)


def _handle(nvml: Any, which: Ordinal) -> Any:
    """CUDA_VISIBLE_DEVICES selects by CUDA's numbers, or by UUID. CUDA's numbers are NVML's unless GPUs of different
    kinds are mixed and CUDA_DEVICE_ORDER is left at its default."""
    given = os.environ.get(VISIBLE) if which.visible is None else which.visible
    if given is None:
        return nvml.nvmlDeviceGetHandleByIndex(which.number)
    names = [name.strip() for name in given.split(",")]
    name = names[which.number] if which.number < len(names) else ""
    if name.startswith("MIG-"):
        raise ValueError("it is a part of a card (MIG), which has no clocks, power or energy of its own")
    if name.startswith("GPU-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    if not name.isdecimal():
        raise ValueError(f"{VISIBLE}={given!r} hides it")
    return nvml.nvmlDeviceGetHandleByIndex(int(name))


def _times(unit: float, value: Any) -> float | None:
    return None if value is None else value * unit


def _driver(root: Path) -> str | None:
    """The version of the loaded driver. The file also names who built it, which is ignored."""
    try:
        version = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version)
    return found.group(1) if found else "unknown"


def _model(file: Path) -> str | None:
    """The card's model. The file also holds its UUID, which is ignored."""
    found = re.search(r"^Model:\s*(.+?)\s*$", file.read_text(), re.MULTILINE)
    return found.group(1) if found else None


def _names_from_nvml() -> list[str | None]:
    try:
        import pynvml
    except ModuleNotFoundError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _names_from_smi() -> list[str | None]:
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return list(listed.stdout.splitlines()) if listed.returncode == 0 else []
