"""Reads NVIDIA's GPUs: the driver's files for their names, NVML (nvidia-ml-py) for all that changes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path("/")


def gpus(root: Path = _ROOT) -> list[dict[str, Any]]:
    """Name, memory and driver of each GPU, from the cheapest source there is; empty where there is none.

    The driver's own file is read at once but holds no memory size; NVML takes tens of milliseconds to start, and
    nvidia-smi up to seconds where the driver is not kept loaded.
    """
    driver = _driver(root)
    if driver is None:
        return []
    names = [_model(file) for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))]
    if not any(names):
        names = _names_from_nvml() or _names_from_smi()
    return [{"name": name, "driver": driver} for name in names if name]


def _driver(root: Path) -> str | None:
    """The loaded driver's version. The file also names whoever built it, which is left alone."""
    try:
        version = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version)
    return found.group(1) if found else "unknown"


def _model(file: Path) -> str | None:
    """The file also holds the card's UUID, which is left alone."""
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
