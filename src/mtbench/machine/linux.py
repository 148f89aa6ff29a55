"""Reads Linux: /proc and /sys, nothing else. `root` stands for /, so that recorded trees can be read too."""

import platform
import re
from pathlib import Path
from typing import Any

_ROOT = Path("/")

# What the firmware of virtual machines calls itself: systemd's detect-virt looks for the same names.
_HYPERVISORS = ("QEMU", "KVM", "VMware", "VirtualBox", "innotek", "Xen", "Bochs", "Parallels", "BHYVE", "Amazon EC2")


def text(path: Path) -> str | None:
    """A file's content without surrounding space, or None where it is missing or cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """A file that holds one integer, or None where it does not."""
    content = text(path)
    return int(content) if content and re.fullmatch(r"-?\d+", content) else None


def chip(root: Path = _ROOT) -> str | None:
    """The processor's name. ARM kernels give none: there, the board's, else the numbers of its designer and part."""
    cpuinfo = dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", text(root / "proc/cpuinfo") or "", re.MULTILINE))
    named = cpuinfo.get("model name") or cpuinfo.get("cpu model") or text(root / "proc/device-tree/model")
    if named is None and "CPU part" in cpuinfo:
        named = f"ARM implementer {cpuinfo.get('CPU implementer')} part {cpuinfo['CPU part']}"
    return named and " ".join(named.split())


def model(root: Path = _ROOT) -> str | None:
    """None: on a PC, the machine's name is the owner's business and says little about its speed."""
    return None


def core_kinds(root: Path = _ROOT) -> dict[str, int]:
    """How many logical cores of each kind a hybrid Intel processor has; empty on others."""
    kinds = {
        "performance": text(root / "sys/devices/cpu_core/cpus"),
        "efficiency": text(root / "sys/devices/cpu_atom/cpus"),
    }
    return {kind: len(cpu_list(cpus)) for kind, cpus in kinds.items() if cpus}


def cpu_list(ranges: str) -> set[int]:
    """The numbers in a kernel CPU list, such as "0-3,8": Documentation/admin-guide/cputopology.rst."""
    bounds = [part.split("-") for part in ranges.split(",") if part]
    return {cpu for bound in bounds for cpu in range(int(bound[0]), int(bound[-1]) + 1)}


def last_level_cache_bytes(root: Path = _ROOT) -> int | None:
    """The size of all instances of the highest cache level together, since one operator's threads spread over them."""
    instances: dict[tuple[int, str], int] = {}
    for index in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        level, size, shared = number(index / "level"), text(index / "size"), text(index / "shared_cpu_list")
        if level is not None and size is not None and shared is not None:
            instances[level, shared] = int(size.removesuffix("K")) * 1024
    highest = max((level for level, _ in instances), default=None)
    return sum(size for (level, _), size in instances.items() if level == highest) or None


def gpus(root: Path = _ROOT) -> list[dict[str, Any]]:
    """Those that name themselves in sysfs, which AMD's accelerators do; NVIDIA's are read by `nvidia`."""
    names = [text(card) for card in sorted((root / "sys/class/drm").glob("card[0-9]*/device/product_name"))]
    return [{"name": name} for name in names if name]


def os_version(root: Path = _ROOT) -> str | None:
    """The distribution, such as "Debian GNU/Linux 12 (bookworm)"."""
    release = text(root / "etc/os-release") or text(root / "usr/lib/os-release") or ""
    named = re.search(r'^PRETTY_NAME="?(.*?)"?$', release, re.MULTILINE)
    return named.group(1) if named else None


def virtualised(root: Path = _ROOT) -> bool:
    """Whether a hypervisor runs this system: by the processor's flag, else by what the firmware calls itself."""
    if re.search(r"^flags\s*:.*\bhypervisor\b", text(root / "proc/cpuinfo") or "", re.MULTILINE):
        return True
    if text(root / "sys/hypervisor/type") or (root / "proc/device-tree/hypervisor").exists():
        return True
    if "microsoft" in platform.release().lower() and root == _ROOT:  # the Windows Subsystem for Linux
        return True
    firmware = [text(root / "sys/class/dmi/id" / name) or "" for name in ("sys_vendor", "product_name", "bios_vendor")]
    return any(name in " ".join(firmware) for name in _HYPERVISORS)
