"""Reads Linux: /proc and /sys, nothing else. `root` stands for /, so that recorded trees can be read too."""

import os
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


def cpu_times(root: Path = _ROOT) -> tuple[int, int] | None:
    """Clock ticks of all processors since boot, and those of them that a hypervisor gave to someone else (steal).

    proc(5), /proc/stat: user nice system idle iowait irq softirq steal; guest times are within user and nice already.
    """
    found = re.match(r"cpu +((?:\d+ ?)+)", text(root / "proc/stat") or "")
    ticks = [int(count) for count in found.group(1).split()] if found else []
    return (sum(ticks[:8]), ticks[7]) if len(ticks) >= 8 else None


def cpu_pressure(root: Path = _ROOT) -> float | None:
    """The share of the last 10 s in which some task waited for a processor: Documentation/accounting/psi.rst."""
    found = re.search(r"^some avg10=([\d.]+)", text(root / "proc/pressure/cpu") or "")
    return float(found.group(1)) / 100 if found else None


def cpu_clock_hz(root: Path = _ROOT) -> float | None:
    """The mean clock of all processors, as cpufreq reports it; None where it does not (most virtual machines)."""
    policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*/scaling_cur_freq")
    clocks = [clock for clock in map(number, policies) if clock is not None]
    return sum(clocks) / len(clocks) * 1e3 if clocks else None


def governors(root: Path = _ROOT) -> set[tuple[str, str]]:
    """Which cpufreq governors are set, each with its driver, such as ("powersave", "intel_pstate")."""
    policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*")
    pairs = ((text(policy / "scaling_governor"), text(policy / "scaling_driver")) for policy in policies)
    return {(governor, driver or "") for governor, driver in pairs if governor}


def temperature_celsius(root: Path = _ROOT) -> float | None:
    """The hottest of the processor's own sensors: hwmon (Intel, AMD), else the thermal zones that are named for it."""
    chips = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
    zones = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "soc-thermal")
    monitors = [path for path in (root / "sys/class/hwmon").glob("hwmon*") if text(path / "name") in chips]
    readings = [number(sensor) for path in monitors for sensor in path.glob("temp*_input")]
    if not readings:
        places = [path for path in (root / "sys/class/thermal").glob("thermal_zone*") if text(path / "type") in zones]
        readings = [number(path / "temp") for path in places]
    return max((reading / 1000 for reading in readings if reading is not None), default=None)


def gpu_load(root: Path = _ROOT) -> float | None:
    """The share of the last moment in which the busiest GPU worked, by amdgpu (Documentation/gpu/amdgpu/thermal.rst)."""
    loads = [number(file) for file in (root / "sys/class/drm").glob("card[0-9]*/device/gpu_busy_percent")]
    return max((load / 100 for load in loads if load is not None), default=None)


def gpu_temperature_celsius(root: Path = _ROOT) -> float | None:
    """The hottest of amdgpu's sensors."""
    monitors = [path for path in (root / "sys/class/hwmon").glob("hwmon*") if text(path / "name") == "amdgpu"]
    readings = [number(sensor) for path in monitors for sensor in path.glob("temp*_input")]
    return max((reading / 1000 for reading in readings if reading is not None), default=None)


def throttle_count(root: Path = _ROOT) -> int | None:
    """How often a processor has been slowed down for its heat since boot (Intel counts); None where nobody counts.

    The package's events are counted once per core, so only the largest count of each kind is taken.
    """
    cpus = root / "sys/devices/system/cpu"
    counts = [
        [number(file) for file in cpus.glob(f"cpu[0-9]*/thermal_throttle/{kind}_throttle_count")]
        for kind in ("core", "package")
    ]
    largest = [max((count for count in kind if count is not None), default=None) for kind in counts]
    known = [count for count in largest if count is not None]
    return sum(known) if known else None


def swap(root: Path = _ROOT) -> tuple[int, int] | None:
    """Bytes of swap in use, and bytes moved in or out of it since boot: proc(5), /proc/meminfo and /proc/vmstat."""
    memory = dict(re.findall(r"^(SwapTotal|SwapFree): +(\d+) kB", text(root / "proc/meminfo") or "", re.MULTILINE))
    moved = re.findall(r"^pswp(?:in|out) (\d+)", text(root / "proc/vmstat") or "", re.MULTILINE)
    if len(memory) < 2:
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    return (int(memory["SwapTotal"]) - int(memory["SwapFree"])) * 1024, sum(map(int, moved)) * page


def low_power_mode(root: Path = _ROOT) -> bool | None:
    """Whether the firmware's platform profile trades speed for power; None where there is no such profile."""
    profile = text(root / "sys/firmware/acpi/platform_profile")
    return None if profile is None else profile in ("low-power", "quiet", "cool")


def cpu_quota(root: Path = _ROOT) -> float | None:
    """How many processors' worth of time a container may use (cgroup v2, cpu.max); None without a limit."""
    found = re.match(r"(\d+) (\d+)", text(root / "sys/fs/cgroup/cpu.max") or "")
    return int(found.group(1)) / int(found.group(2)) if found else None
