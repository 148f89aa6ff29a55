"""What would disturb a measurement now. Each finding has its remedy."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtbench.frameworks._compiler import HOW, cxx_compiler
from mtbench.machine import energy, linux, nvidia
from mtbench.machine.description import describe
from mtbench.machine.doctor_macos import on_mac
from mtbench.machine.finding import SEVERITIES, Finding
from mtbench.machine.variables import on_environment
from mtbench.machine.watch import Reading, Watch
from mtbench.results.format import percent, size
from mtbench.results.reference_blas import is_reference, remedy, told

if TYPE_CHECKING:
    from mtbench.catalogue.capability import Capability


def examine(seconds: float = 0.5) -> list[Finding]:
    """Watches the machine for `seconds`. Returns the findings, the worst first; that nothing is wrong is a finding, too."""
    description = describe()
    on_macos = description.get("os") == "macOS"
    with Watch() as watch:
        watch.sample()
        time.sleep(seconds)
        reading = watch.sample()
        checks: dict[str, Callable[[], list[Finding]]] = {
            "power": lambda: on_power(reading, on_macos),
            "load": lambda: on_load(reading, description),
            "memory": lambda: on_memory(reading, description),
            "heat": lambda: on_heat(reading),
            "the GPU": lambda: _gpu(watch),
            "the virtual machine": lambda: on_virtual(reading, description),
            "the environment": lambda: on_environment(os.environ, description.get("usable_cores"), on_macos),
            "the C++ compiler": on_compiler,
            "this system": lambda: on_mac(reading, description) if on_macos else _linux(description),
            "energy": lambda: _energy(bool(description.get("gpus"))),
        }
        findings = [finding for what, check in checks.items() for finding in _guarded(what, check)]
    findings += on_gaps([*description.get("not_read", ()), *watch.not_read])
    return worst_first(findings)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Warnings, then notes, then what is well."""
    return sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))


def _guarded(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of one check, or a note that it failed, so that the other checks still run."""
    try:
        return look()
    except Exception as error:
        return [Finding("note", f"Could not examine {what}: {type(error).__name__}.")]


def on_gaps(not_read: Sequence[str]) -> list[Finding]:
    """What the system did not answer, or not in time."""
    return [Finding("note", f"Could not be read here: {', '.join(not_read)}.")] if not_read else []


def on_blas(libraries: "Iterable[Capability]") -> list[Finding]:
    """A warning for each of these libraries that multiplies matrices on the CPU with the reference BLAS."""
    described = [one.description for one in libraries if one.description is not None]
    return [
        Finding("warning", told(one.library, one.blas), remedy(one.library))
        for one in described
        if one.device_kind == "cpu" and is_reference(one.blas)
    ]


def on_power(reading: Reading, on_macos: bool = False) -> list[Finding]:
    """Battery and low-power mode. Apple's chips run as fast on their battery, unless their owner chose otherwise."""
    findings = []
    if reading.power_source == "battery" and on_macos:
        findings.append(Finding("note", "The Mac runs on its battery.", "Connect its charger for a long sweep."))
    elif reading.power_source == "battery":
        findings.append(
            Finding("warning", "The machine runs on its battery, which limits its clocks.", "Connect its charger.")
        )
    if reading.low_power_mode:
        findings.append(
            Finding(
                "warning",
                "Low-power mode is on: clocks are held down.",
                "Turn it off: System Settings > Battery > Low Power Mode on a Mac, powerprofilesctl set performance on "
                "Linux.",
            )
        )
    return findings or [Finding("ok", f"Power: {reading.power_source}, no low-power mode.")]


def on_load(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """Other work: more runnable tasks than half of the cores, or tasks that wait for a processor."""
    cores = description.get("usable_cores") or 1
    remedy = "Close other programs (top shows them), and wait a minute."
    if reading.load is not None and reading.load > cores / 2:
        return [Finding("warning", f"The load is already {reading.load:.1f} on {cores} cores.", remedy)]
    if reading.cpu_pressure is not None and reading.cpu_pressure > 0.1:
        waited = percent(reading.cpu_pressure)
        return [Finding("warning", f"Tasks waited for a processor in {waited} of the last 10 s.", remedy)]
    return [Finding("ok", f"Load: {reading.load:.1f} on {cores} cores.")] if reading.load is not None else []


def on_memory(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """Memory pressure, and swap that is in use, or being used more right now."""
    remedy = "Close programs that use much memory, or choose smaller shapes."
    if reading.memory_pressure in ("warning", "critical"):
        return [Finding("warning", f"macOS reports the memory pressure '{reading.memory_pressure}'.", remedy)]
    if reading.swapped_bytes:
        return [Finding("warning", f"The machine is swapping now: {size(reading.swapped_bytes)}.", remedy)]
    # A little stays in swap long after a shortage.
    if (reading.swap_used_bytes or 0) > 0.02 * (description.get("memory_bytes") or 0):
        return [Finding("note", f"{size(reading.swap_used_bytes or 0)} are in swap.", remedy)]
    return [Finding("ok", "Memory: no swapping.")] if reading.swap_used_bytes is not None else []


def on_heat(reading: Reading) -> list[Finding]:
    """Thermal flags."""
    remedy = (
        "Let it cool, and keep it ventilated. protocol=gentle rests between cells and waits while the machine is hot."
    )
    if reading.thermal_flag is not None:
        flag = reading.thermal_flag
        return [Finding("warning", f"Heat slows the machine down: {flag}.", remedy)]
    if reading.thermal_state == "fair" or reading.thermal_pressure == "moderate":
        return [Finding("note", "The Mac is warm already, and may slow down under load.", remedy)]
    known = (reading.thermal_state, reading.thermal_pressure, reading.cpu_throttled, reading.cpu_temperature_celsius)
    if any(fact is not None for fact in known) or reading.gpu is not None:
        degrees = reading.cpu_temperature_celsius
        return [Finding("ok", "Heat: no flag" + (f", processor at {degrees:.0f} °C." if degrees is not None else "."))]
    return [
        Finding(
            "note",
            "The system does not report heat here. Only a sweep's canary can notice that the machine slows down.",
        )
    ]


def on_gpu(
    reading: nvidia.GpuReading, foreign: Sequence[nvidia.GpuProcess], utilisation: float | None
) -> list[Finding]:
    """Others on the GPU, and clocks that are held back for another reason than heat."""
    findings = []
    remedy = "Stop it (nvidia-smi shows it), or select another GPU with CUDA_VISIBLE_DEVICES."
    if foreign:
        held = sum(process.memory_bytes or 0 for process in foreign)
        numbers = ", ".join(str(process.pid) for process in foreign)
        holding = f" and hold {size(held)}" if held else ""
        findings.append(
            Finding("warning", f"Other processes compute on the GPU{holding}: process number {numbers}.", remedy)
        )
    elif utilisation is not None and utilisation > 0.05:
        findings.append(
            Finding("warning", f"Something keeps the GPU busy, {percent(utilisation)} of the time.", remedy)
        )
    reasons = reading.throttle_reasons or ()
    slowed = [name for name in reasons if name in nvidia.SLOWDOWN_REASONS and name not in nvidia.THERMAL_REASONS]
    if slowed:
        findings.append(
            Finding("warning", f"The GPU's clocks are held back: {', '.join(slowed)}.", "Check its power supply.")
        )
    if nvidia.REASONS[0x002] in reasons:
        findings.append(
            Finding(
                "note",
                "The GPU's clocks are fixed: times are steadier, but not at full speed.",
                "nvidia-smi --reset-gpu-clocks frees them.",
            )
        )
    return findings or [Finding("ok", "GPU: nobody else on it, clocks free.")]


def on_virtual(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """Virtual machines, which others on the same host slow down unseen."""
    if reading.steal_fraction is not None and reading.steal_fraction > 0.01:
        return [
            Finding(
                "warning",
                f"The hypervisor gave {percent(reading.steal_fraction)} of the processor time to other machines.",
                "Use a dedicated machine, or measure at another time.",
            )
        ]
    if description.get("virtualised"):
        return [
            Finding(
                "note",
                "This is a virtual machine: others on the same host can slow it down unseen.",
                "Measure more rounds (protocol=rigorous), and trust small differences less.",
            )
        ]
    return []


def on_compiler(find: Callable[[], str | None] = cxx_compiler) -> list[Finding]:
    """torch.compile and mx.compile build C++ for the CPU when they run."""
    if find():
        return [Finding("ok", "C++ compiler: found.")]
    return [
        Finding(
            "warning",
            "There is no C++ compiler. torch.compile and mx.compile need one on the CPU.",
            f"{HOW[0].upper()}{HOW[1:]}.",
        )
    ]


def on_governors(governors: Iterable[tuple[str, str]]) -> list[Finding]:
    """Linux's choice of clocks. Under intel_pstate and amd-pstate-epp, powersave means no more than "as needed"."""
    findings = []
    for governor, driver in sorted(governors):
        if governor == "performance":
            continue
        pinned = governor == "powersave" and driver not in ("intel_pstate", "amd-pstate-epp")
        what = "keeps the clocks at their lowest" if pinned else "lets the clocks follow the load, with a delay"
        findings.append(
            Finding(
                "warning" if pinned else "note",
                f"The CPU governor '{governor}' ({driver}) {what}.",
                "sudo cpupower frequency-set -g performance",
            )
        )
    return findings


def on_quota(quota: float | None, cores: int | None) -> list[Finding]:
    """A container that may not use its cores all the time is stopped for the rest of each period."""
    if quota is None or cores is None or quota >= cores:
        return []
    return [
        Finding(
            "warning",
            f"This container may use {quota:.1f} of {cores} cores: it is stopped for a part of every 0.1 s.",
            f"Give it whole cores instead (docker run --cpuset-cpus), or run with taskset on {max(1, int(quota))}.",
        )
    ]


def _gpu(watch: Watch) -> list[Finding]:
    import psutil

    if watch.gpu_unseen is not None:
        return [Finding("note", f"The GPU's clocks and heat are not watched: {watch.gpu_unseen}.")]
    if watch.gpu is None:
        return []
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    foreign = [process for process in watch.gpu.processes() if process.pid not in own]
    return on_gpu(watch.gpu.read(), foreign, watch.gpu.utilisation())


def _linux(description: Mapping[str, Any], root: Path = Path("/")) -> list[Finding]:
    return [
        *on_governors(linux.governors(root)),
        *on_quota(linux.cpu_quota(root), description.get("usable_cores")),
    ]


def _energy(has_gpu: bool) -> list[Finding]:
    findings = []
    for device in ("cpu", "gpu") if has_gpu else ("cpu",):
        counter = energy.reader(device)
        if isinstance(counter, str):
            findings.append(Finding("note", f"Energy of the {device.upper()}: not measured; {counter}."))
        else:
            findings.append(Finding("ok", f"Energy of the {device.upper()}: measured ({counter.covers})."))
            counter.close()
    return findings
