"""What would spoil a measurement now, each finding with its remedy."""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.machine import energy, linux, macos, nvidia
from mtbench.machine.description import describe
from mtbench.machine.watch import Reading, Watch
from mtbench.results.format import size

SEVERITIES = ("ok", "note", "warning")


@dataclass(frozen=True)
class Finding:
    """ok: looked at, and well. note: worth knowing beside the numbers. warning: it makes numbers wrong or unsteady."""

    severity: str
    what: str
    remedy: str = ""


def examine(seconds: float = 0.5) -> list[Finding]:
    """Looks at the machine for so long, and says what it found, the worst first; nothing wrong is a finding too."""
    description = describe()
    with Watch() as watch:
        watch.sample()
        time.sleep(seconds)
        reading = watch.sample()
        gpu_findings = _gpu(watch)
    findings = [
        *on_power(reading),
        *on_load(reading, description),
        *on_memory(reading, description),
        *on_heat(reading),
        *gpu_findings,
        *on_virtual(reading, description),
        *on_environment(os.environ, description.get("usable_cores"), sys.platform == "darwin"),
        *on_compiler(),
        *(_macos() if sys.platform == "darwin" else _linux(description)),
        *_energy(bool(description.get("gpus"))),
    ]
    return sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))


def on_power(reading: Reading) -> list[Finding]:
    """Battery and low-power mode."""
    findings = []
    if reading.power_source == "battery":
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
    remedy = "Close what else runs (top shows it), and wait a minute."
    if reading.load is not None and reading.load > cores / 2:
        return [Finding("warning", f"The load is {reading.load:.1f} on {cores} cores, before measuring.", remedy)]
    if reading.cpu_pressure is not None and reading.cpu_pressure > 0.1:
        waited = f"{reading.cpu_pressure:.0%}"
        return [Finding("warning", f"In {waited} of the last 10 s, something waited for a processor.", remedy)]
    return [Finding("ok", f"Load: {reading.load:.1f} on {cores} cores.")] if reading.load is not None else []


def on_memory(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """Swap that is in use, or being used more right now."""
    remedy = "Close what holds memory, or choose smaller shapes."
    if reading.swapped_bytes:
        return [Finding("warning", f"The machine is swapping: {size(reading.swapped_bytes)} just now.", remedy)]
    # A little always stays there after a shortage long past.
    if (reading.swap_used_bytes or 0) > 0.02 * (description.get("memory_bytes") or 0):
        return [Finding("note", f"{size(reading.swap_used_bytes or 0)} are in swap.", remedy)]
    return [Finding("ok", "Memory: no swapping.")] if reading.swap_used_bytes is not None else []


def on_heat(reading: Reading) -> list[Finding]:
    """Thermal flags."""
    remedy = "Let it cool; keep it ventilated. During a sweep, protocol.cooldown_fraction rests it between cells."
    if reading.thermal_flag is not None:
        flag = reading.thermal_flag
        return [Finding("warning", f"Heat slows the machine down: {flag}.", remedy)]
    if reading.thermal_state == "fair" or reading.thermal_pressure == "moderate":
        return [Finding("note", "The Mac is warm already, and may slow down under load.", remedy)]
    known = (reading.thermal_state, reading.thermal_pressure, reading.cpu_throttled, reading.cpu_temperature_celsius)
    if any(fact is not None for fact in known) or reading.gpu is not None:
        degrees = reading.cpu_temperature_celsius
        return [Finding("ok", "Heat: no flag" + (f", processor at {degrees:.0f} °C." if degrees is not None else "."))]
    return [Finding("note", "The system says nothing of heat here: only the canary of a sweep can notice it.")]


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
        findings.append(Finding("warning", f"Something keeps the GPU busy, {utilisation:.0%} of the time.", remedy))
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
                "The GPU's clocks are fixed: steadier than usual, and not its full speed.",
                "nvidia-smi --reset-gpu-clocks frees them.",
            )
        )
    return findings or [Finding("ok", "GPU: nobody else on it, clocks free.")]


def on_virtual(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """Virtual machines, whose neighbours are not seen but felt."""
    if reading.steal_fraction is not None and reading.steal_fraction > 0.01:
        return [
            Finding(
                "warning",
                f"The hypervisor gave {reading.steal_fraction:.0%} of the processor time to other machines.",
                "Use a dedicated machine, or measure at another time.",
            )
        ]
    if description.get("virtualised"):
        return [
            Finding(
                "note",
                "This is a virtual machine: neighbours on the same host can slow it down unseen.",
                "Choose more rounds (protocol=rigorous), and trust small differences less.",
            )
        ]
    return []


# What a variable does to a measurement when it has a value; with "0" and "" none of these is in force.
_VARIABLES = {
    "PYTORCH_ENABLE_MPS_FALLBACK": "lets operators run on the CPU unseen, under the GPU's name",
    "MLX_DISABLE_COMPILE": "turns mx.compile off, so that mlx_compiled measures mlx",
    "TORCH_COMPILE_DISABLE": "turns torch.compile off, so that torch_compiled measures torch",
    "TORCHDYNAMO_DISABLE": "turns torch.compile off, so that torch_compiled measures torch",
    "CUDA_LAUNCH_BLOCKING": "makes every CUDA kernel wait for the one before, so that nothing overlaps",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "makes torch ask the driver for every piece of memory",
    "MTL_DEBUG_LAYER": "has Metal check every call",
    "MTL_SHADER_VALIDATION": "has Metal check every memory access",
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def on_environment(environment: Mapping[str, str], cores: int | None, on_macos: bool) -> list[Finding]:
    """Variables that change what is measured."""
    findings = [
        Finding("warning", f"{name}={environment[name]} {effect}.", f"unset {name}")
        for name, effect in _VARIABLES.items()
        # MLX looks whether it is there, not what it says.
        if name in environment and (name == "MLX_DISABLE_COMPILE" or environment[name] not in ("", "0"))
    ]
    if environment.get("NVIDIA_TF32_OVERRIDE") is not None:
        value = environment["NVIDIA_TF32_OVERRIDE"]
        findings.append(
            Finding(
                "warning",
                f"NVIDIA_TF32_OVERRIDE={value} overrules matmul_precision in every library.",
                "unset NVIDIA_TF32_OVERRIDE",
            )
        )
    if environment.get("OMP_WAIT_POLICY", "").lower() == "active":
        findings.append(
            Finding("warning", "OMP_WAIT_POLICY=active lets idle workers burn cores.", "unset OMP_WAIT_POLICY")
        )
    threads = {name: environment[name] for name in _THREADS if name in environment}
    for name, value in threads.items():
        count = int(value) if value.isdecimal() else None
        if count is not None and cores is not None and count > cores:
            findings.append(
                Finding("warning", f"{name}={value} asks for more threads than {cores} cores can run.", f"unset {name}")
            )
        else:
            findings.append(
                Finding("note", f"{name}={value} limits the threads of libraries that read it.", f"unset {name}")
            )
    if on_macos and "OMP_NUM_THREADS" in threads and "VECLIB_MAXIMUM_THREADS" not in threads:
        findings.append(
            Finding(
                "note",
                "OMP_NUM_THREADS binds torch but not Accelerate, which multiplies matrices on a Mac.",
                "export VECLIB_MAXIMUM_THREADS to the same number, or unset both.",
            )
        )
    return findings or [Finding("ok", "Environment: nothing that changes what is measured.")]


def on_compiler(which: Any = shutil.which) -> list[Finding]:
    """torch.compile and mx.compile build C++ for the CPU when they run."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    if any(which(name) for name in names if name):
        return [Finding("ok", "C++ compiler: found.")]
    return [
        Finding(
            "warning",
            "There is no C++ compiler, which torch.compile and mx.compile need on the CPU.",
            "Install one: xcode-select --install (macOS), apt-get install g++ (Debian, Ubuntu).",
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


def _macos() -> list[Finding]:
    findings = []
    if macos.translated():
        findings.append(
            Finding(
                "warning",
                "This Python is an Intel program that Rosetta translates: everything on the CPU is slower.",
                "Install an arm64 Python (python.org or Homebrew under /opt/homebrew), and mtbench with it.",
            )
        )
    if macos.process_info() is None:
        findings.append(
            Finding(
                "note", "NSProcessInfo cannot be asked.", "pip install pyobjc-framework-Cocoa (or 'mtbench[metal]')"
            )
        )
    return findings


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
