"""What the doctor finds on machines in every bad state, its remedies, and what it says can run."""

import io
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest

from mtbench.catalogue import capability
from mtbench.catalogue.capability import Capability
from mtbench.frameworks import _compiler as compiler
from mtbench.frameworks.base import Description
from mtbench.machine import doctor, doctor_macos, nvidia, variables
from mtbench.machine.console import examination
from mtbench.machine.contenders import Contender, contender
from mtbench.machine.finding import Finding
from mtbench.machine.nvidia import GpuProcess, GpuReading
from mtbench.machine.watch import Reading

MACHINE = {"usable_cores": 8, "memory_bytes": 16 * 2**30, "virtualised": False}
CALM = GpuReading(1980e6, 1980e6, 2619e6, 41.0, 474.0, ())


def worst(findings: list[Finding]) -> str:
    return max((finding.severity for finding in findings), key=doctor.SEVERITIES.index, default="ok")


def said(findings: list[Finding]) -> str:
    return " ".join(finding.what for finding in findings)


@pytest.mark.parametrize(
    ("reading", "severity", "word"),
    [
        (Reading(power_source="mains", low_power_mode=False), "ok", "mains"),
        (Reading(power_source="mains"), "ok", "mains"),
        (Reading(power_source="battery"), "warning", "battery"),
        (Reading(power_source="mains", low_power_mode=True), "warning", "Low-power mode"),
    ],
)
def test_power(reading, severity, word):
    findings = doctor.on_power(reading)
    assert worst(findings) == severity
    assert word in said(findings)


def test_a_battery_is_no_fault_of_an_apple_chip():
    assert worst(doctor.on_power(Reading(power_source="battery"), on_macos=True)) == "note"
    low = Reading(power_source="battery", low_power_mode=True)
    assert worst(doctor.on_power(low, on_macos=True)) == "warning"


@pytest.mark.parametrize(
    ("reading", "severity"),
    [
        (Reading(load=4.0, cpu_pressure=0.0), "ok"),
        (Reading(load=4.1), "warning"),
        (Reading(load=0.1, cpu_pressure=0.3), "warning"),
    ],
)
def test_load_above_half_the_cores(reading, severity):
    assert worst(doctor.on_load(reading, MACHINE)) == severity


@pytest.mark.parametrize(
    ("reading", "severity"),
    [
        (Reading(swap_used_bytes=0, swapped_bytes=0), "ok"),
        (Reading(swap_used_bytes=2**20, swapped_bytes=0), "ok"),
        (Reading(swap_used_bytes=2**30, swapped_bytes=0), "note"),
        (Reading(swap_used_bytes=2**20, swapped_bytes=4096), "warning"),
        (Reading(swap_used_bytes=0, swapped_bytes=0, memory_pressure="normal"), "ok"),
        (Reading(swap_used_bytes=0, swapped_bytes=0, memory_pressure="critical"), "warning"),
    ],
)
def test_swap_in_use_or_growing(reading, severity):
    assert worst(doctor.on_memory(reading, MACHINE)) == severity


@pytest.mark.parametrize(
    ("reading", "severity"),
    [
        (Reading(thermal_state="nominal", thermal_pressure="nominal"), "ok"),
        (Reading(thermal_state="fair"), "note"),
        (Reading(thermal_state="nominal", thermal_pressure="moderate"), "note"),
        (Reading(thermal_state="critical"), "warning"),
        (Reading(cpu_throttled=True), "warning"),
        (Reading(cpu_temperature_celsius=61.0), "ok"),
        (Reading(), "note"),  # silence is not health
    ],
)
def test_heat(reading, severity):
    assert worst(doctor.on_heat(reading)) == severity


def test_a_gpu_for_oneself_is_well():
    assert worst(doctor.on_gpu(CALM, [], 0.0)) == "ok"


def test_a_foreign_process_on_the_gpu():
    findings = doctor.on_gpu(CALM, [GpuProcess(416, 9133096960), GpuProcess(417, None)], 1.0)
    assert worst(findings) == "warning"
    assert "8.51 GiB" in said(findings)
    assert "416, 417" in said(findings)


def test_a_busy_gpu_without_a_visible_process():
    """In a container the driver hides other containers' processes, but not their work."""
    assert "40 %" in said(doctor.on_gpu(CALM, [], 0.4))


def test_own_workers_are_not_foreign():
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        gpu = SimpleNamespace(processes=lambda: [GpuProcess(worker.pid, 1)], read=lambda: CALM, utilisation=lambda: 0.0)
        findings = doctor._gpu(SimpleNamespace(gpu=gpu, gpu_unseen=None))
    finally:
        worker.communicate(b"\n")
    assert worst(findings) == "ok"


@pytest.mark.parametrize(
    ("reason", "severity"),
    [("hardware slowdown", "warning"), ("power brake", "warning"), ("clocks set by the owner", "note")],
)
def test_gpu_clocks_that_are_held_back(reason, severity):
    assert reason in nvidia.REASONS.values()
    reading = GpuReading(1000e6, 1980e6, 2619e6, 41.0, 474.0, (reason,))
    assert worst(doctor.on_gpu(reading, [], 0.0)) == severity


def test_virtual_machines_and_their_neighbours():
    assert doctor.on_virtual(Reading(steal_fraction=0.0), MACHINE) == []
    assert worst(doctor.on_virtual(Reading(steal_fraction=0.0), MACHINE | {"virtualised": True})) == "note"
    assert worst(doctor.on_virtual(Reading(steal_fraction=0.08), MACHINE | {"virtualised": True})) == "warning"


@pytest.mark.parametrize(
    ("environment", "severity", "remedy"),
    [
        ({}, "ok", ""),
        ({"PYTORCH_ENABLE_MPS_FALLBACK": "1"}, "warning", "unset PYTORCH_ENABLE_MPS_FALLBACK"),
        ({"PYTORCH_ENABLE_MPS_FALLBACK": "0"}, "ok", ""),
        ({"PYTORCH_MPS_PREFER_METAL": "1"}, "warning", "unset PYTORCH_MPS_PREFER_METAL"),
        ({"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0.0"}, "warning", "unset PYTORCH_MPS_HIGH_WATERMARK_RATIO"),
        ({"MLX_MAX_OPS_PER_BUFFER": "100"}, "warning", "unset MLX_MAX_OPS_PER_BUFFER"),
        ({"MLX_METAL_FAST_SYNCH": "0"}, "ok", ""),
        ({"MLX_DISABLE_COMPILE": ""}, "warning", "unset MLX_DISABLE_COMPILE"),
        ({"TORCHDYNAMO_DISABLE": "1"}, "warning", "unset TORCHDYNAMO_DISABLE"),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, "warning", "unset CUDA_LAUNCH_BLOCKING"),
        ({"NVIDIA_TF32_OVERRIDE": "0"}, "warning", "unset NVIDIA_TF32_OVERRIDE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "warning", "unset OMP_WAIT_POLICY"),
        ({"OMP_WAIT_POLICY": "passive"}, "ok", ""),
        ({"OMP_NUM_THREADS": "4"}, "note", "unset OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "64"}, "warning", "unset OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "4,2"}, "note", "unset OMP_NUM_THREADS"),
    ],
)
def test_environment(environment, severity, remedy):
    findings = variables.on_environment(environment, 8, on_macos=False)
    assert worst(findings) == severity
    assert findings[0].remedy == remedy


def test_threads_of_two_libraries_that_differ_on_a_mac():
    threads = {"OMP_NUM_THREADS": "4"}
    assert "Accelerate" in said(variables.on_environment(threads, 8, on_macos=True))
    assert "Accelerate" not in said(
        variables.on_environment(threads | {"VECLIB_MAXIMUM_THREADS": "4"}, 8, on_macos=True)
    )


def test_a_missing_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert worst(doctor.on_compiler()) == "warning"
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/opt/bin/{name}" if name == "clang++" else None)
    assert worst(doctor.on_compiler()) == "ok"
    monkeypatch.setenv("CXX", "my-compiler")
    monkeypatch.setattr(compiler.shutil, "which", lambda name: name if name == "my-compiler" else None)
    assert worst(doctor.on_compiler()) == "ok"


@pytest.mark.parametrize(
    ("governor", "driver", "severity"),
    [
        ("performance", "intel_pstate", "ok"),
        ("powersave", "intel_pstate", "note"),
        ("powersave", "acpi-cpufreq", "warning"),
        ("schedutil", "amd-pstate", "note"),
    ],
)
def test_governors(governor, driver, severity):
    assert worst(doctor.on_governors([(governor, driver)])) == severity


@pytest.mark.parametrize(("quota", "severity"), [(None, "ok"), (8.0, "ok"), (1.5, "warning")])
def test_a_container_that_is_stopped_for_a_part_of_the_time(quota, severity):
    assert worst(doctor.on_quota(quota, 8)) == severity


def test_every_warning_has_a_remedy():
    reading = Reading(
        load=99,
        power_source="battery",
        low_power_mode=True,
        swapped_bytes=1,
        thermal_state="critical",
        steal_fraction=1,
    )
    throttled = GpuReading(None, None, None, None, None, tuple(nvidia.REASONS.values()))
    everything = [
        *doctor.on_power(reading),
        *doctor.on_load(reading, MACHINE),
        *doctor.on_memory(reading, MACHINE),
        *doctor.on_heat(reading),
        *doctor.on_gpu(throttled, [GpuProcess(1, 1)], 1.0),
        *doctor.on_virtual(reading, MACHINE),
        *variables.on_environment(dict.fromkeys(variables._VARIABLES, "1"), 8, on_macos=True),
        *doctor.on_compiler(lambda: None),
        *doctor.on_governors([("powersave", "acpi-cpufreq")]),
        *doctor.on_quota(1.5, 8),
    ]
    assert len(everything) > 15
    assert all(finding.remedy for finding in everything)
    assert "ok" not in {finding.severity for finding in everything}


@pytest.mark.parametrize(
    ("findings", "severity", "word"),
    [
        (doctor_macos.on_translation(True), "warning", "Rosetta"),
        (doctor_macos.on_background(True), "warning", "efficiency cores"),
        (doctor_macos.on_background(None), "ok", ""),
        (doctor_macos.on_gpu_load(0.05), "ok", "5 % busy"),
        (doctor_macos.on_gpu_load(0.63), "warning", "63 %"),
        (doctor_macos.on_tensor_units("Apple M4 Max", "py3-none-macosx_15_0_arm64"), "ok", ""),
        (doctor_macos.on_tensor_units("Apple M5", "py3-none-macosx_26_0_arm64"), "note", "TF32"),
        (doctor_macos.on_tensor_units("Apple M5 Pro", "py3-none-macosx_15_0_arm64"), "warning", "macosx_15_0"),
    ],
)
def test_what_only_a_mac_has(findings, severity, word):
    assert worst(findings) == severity
    assert word in said(findings)


def test_a_look_that_fails_costs_no_other(monkeypatch):
    def broken(*_):
        raise subprocess.TimeoutExpired("sysctl", 2)

    monkeypatch.setattr(doctor, "on_compiler", broken)
    monkeypatch.setattr(doctor, "_linux", broken)
    monkeypatch.setattr(doctor, "on_mac", broken)
    findings = doctor.examine(seconds=0.01)
    assert said(findings).count("TimeoutExpired") == 2
    assert "Energy of the CPU" in said(findings)


def test_gaps_are_said_once():
    assert said(doctor.on_gaps(["gpus: OSError", "power_mode: TimeoutExpired"])).count("power_mode") == 1
    assert doctor.on_gaps([]) == []


def test_examining_this_machine_puts_the_worst_first(monkeypatch):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    findings = doctor.examine(seconds=0.05)
    order = [doctor.SEVERITIES.index(finding.severity) for finding in findings]
    assert order == sorted(order, reverse=True)
    assert order[0] == 2
    assert "unset PYTORCH_ENABLE_MPS_FALLBACK" in [finding.remedy for finding in findings]
    assert any(finding.what.startswith("Energy of the CPU") for finding in findings)


def test_contenders_that_work_and_that_do_not():
    cpu, gpu = map(contender, capability.ask(["numpy"]))
    assert (cpu.framework, cpu.device, cpu.works) == ("numpy", "cpu", True)
    assert cpu.detail.startswith("numpy ")
    assert cpu.dtypes == ("float32", "float16")
    assert not gpu.works
    assert "CPU only" in gpu.detail


def broken(tmp_path, monkeypatch, source: str, timeout_s: float = 60) -> Contender:
    """A NumPy that behaves like this when it is imported."""
    (tmp_path / "numpy.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return contender(capability.ask(["numpy"], ["cpu"], timeout_s=timeout_s)[0])


def test_a_reference_blas_is_named_with_what_helps():
    described = partial(
        Description, version="1", device="cpu", device_name="cpu", threads=None, peak_kind="", details={}
    )
    libraries = [
        Capability(library, kind, description=described(library, device_kind=kind, blas=blas))
        for library, kind, blas in (
            ("mlx", "cpu", "libblas.so.3.10.0"),
            ("numpy", "cpu", "netlib"),
            ("torch", "cpu", "libopenblasp-r0.3.21.so"),
            ("jax", "cuda", "reference"),
        )
    ]
    mlx, numpy = doctor.on_blas([*libraries, Capability("llama_cpp", "cpu", unsupported="not installed")])
    assert (mlx.severity, numpy.severity) == ("warning", "warning")
    assert mlx.what.startswith("On this CPU mlx multiplies matrices with the reference BLAS (libblas.so.3.10.0)")
    assert mlx.remedy == "With OpenBLAS installed, add framework.settings.blas=libopenblas.so.0."
    assert "framework.env.LD_PRELOAD=" in numpy.remedy


def test_a_broken_installation_is_told_from_a_missing_one(tmp_path, monkeypatch):
    contender = broken(tmp_path, monkeypatch, "raise ImportError('libfoo.so: cannot open shared object file')")
    assert not contender.works
    assert contender.detail == "its installation is broken: ImportError: libfoo.so: cannot open shared object file"


def test_a_framework_that_kills_its_process_costs_nobody_else(tmp_path, monkeypatch):
    contender = broken(tmp_path, monkeypatch, "import os; os.abort()")
    assert not contender.works
    assert "broken" in contender.detail


def test_a_framework_that_hangs_is_given_up(tmp_path, monkeypatch):
    contender = broken(tmp_path, monkeypatch, "import time; time.sleep(60)", timeout_s=2)
    assert "did not answer within 2 s" in contender.detail


def test_the_report_shows_all_of_it():
    from rich.console import Console

    description = {
        "chip": "Apple M1 Pro",
        "model": "MacBookPro18,3",
        "cores": {"physical": 10, "logical": 10, "performance": 8, "efficiency": 2},
        "memory_bytes": 16 * 2**30,
        "gpus": [{"name": "Apple M1 Pro GPU", "cores": 16}],
        "os": "macOS",
        "os_version": "15.5",
        "power_source": "battery",
    }
    console = Console(file=io.StringIO(), width=100)
    console.print(
        examination(
            [Finding("warning", "It runs on its [battery].", "Connect it."), Finding("ok", "Load: 0.1.")],
            [Contender("mlx", "gpu", True, "mlx 0.32", ("float32",)), Contender("torch", "gpu", False, "no GPU here")],
            description,
        )
    )
    shown = console.file.getvalue()
    for part in (
        "Apple M1 Pro (MacBookPro18,3)",
        "10 physical, 10 logical, 8 performance, 2 efficiency",
        "16.0 GiB",
        "Apple M1 Pro GPU, 16 cores",
        "macOS 15.5",
        "mlx 0.32 (float32)",
        "no GPU here",
        "It runs on its [battery].",
        "Connect it.",
    ):
        assert part in shown


def test_the_doctor_loses_nothing_at_the_edge_of_a_narrow_terminal():
    from rich.console import Console

    url = "framework.url=http://127.0.0.1:8080/v1/and/no/space/anywhere"
    console = Console(file=io.StringIO(), width=60)
    console.print(examination([Finding("ok", "Load: 0.1.")], [Contender("openai_server", "cpu", False, url)]))
    shown = console.file.getvalue()
    assert url in "".join(line[25:].strip() for line in shown.splitlines())
    assert "…" not in shown


def test_the_doctor_itself_loads_no_framework():
    code = (
        "import sys; from mtbench.machine import doctor; doctor.examine(seconds=0.01); "
        "print({'torch', 'mlx', 'polars', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
