"""The readers of NVIDIA's GPUs, on what an H100 really answered (driver 580.159.04), idle and busy."""

import sys
from types import SimpleNamespace

import pytest

from mtbench.machine import nvidia

VERSION = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (someone@somewhere)
GCC version:  gcc version 15.3.0 (GCC)
"""
INFORMATION = """\
Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 41
GPU UUID: \t GPU-11111111-2222-3333-4444-555555555555
Video BIOS: \t 96.00.da.00.0c
"""

IDLE = {
    "nvmlDeviceGetCurrentClocksThrottleReasons": 1,
    "nvmlDeviceGetClockInfo": {1: 555, 2: 2619},
    "nvmlDeviceGetMaxClockInfo": {1: 1980},
    "nvmlDeviceGetTemperature": {0: 32},
    "nvmlDeviceGetPowerUsage": 115520,
    "nvmlDeviceGetTotalEnergyConsumption": 2068491,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0, memory=0),
    "nvmlDeviceGetComputeRunningProcesses": [],
}
BUSY = IDLE | {
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
    "nvmlDeviceGetClockInfo": {1: 1980, 2: 2619},
    "nvmlDeviceGetTemperature": {0: 41},
    "nvmlDeviceGetPowerUsage": 474059,
    "nvmlDeviceGetTotalEnergyConsumption": 3512928,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=100, memory=100),
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=416, usedGpuMemory=9133096960)],
}


class Nvml:
    """NVML's functions and constants as nvidia-ml-py has them; a question without a recorded answer is an error."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, answers: dict | None = None, starts: bool = True) -> None:
        self.answers = answers or {}
        self.starts = starts
        self.open = 0

    def nvmlInit(self):
        if not self.starts:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return f"index {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return f"uuid {uuid}"

    def __getattr__(self, name):
        def ask(handle, *details):
            if name not in self.answers:
                raise self.NVMLError("Not Supported")
            answer = self.answers[name]
            return answer[details[0]] if details else answer

        if not name.startswith("nvmlDevice"):
            raise AttributeError(name)
        return ask


@pytest.fixture
def h100(tmp_path):
    folder = tmp_path / "proc/driver/nvidia"
    (folder / "gpus/0000:00:06.0").mkdir(parents=True)
    (folder / "version").write_text(VERSION)
    (folder / "gpus/0000:00:06.0/information").write_text(INFORMATION)
    return tmp_path


def test_the_driver_names_its_gpus_without_their_serial(h100):
    assert nvidia.gpus(h100) == [{"name": "NVIDIA H100 80GB HBM3", "driver": "580.159.04"}]


def test_a_machine_without_a_driver_has_none(tmp_path):
    assert nvidia.gpus(tmp_path) == []
    assert nvidia.open_gpu(root=tmp_path) is None


def test_older_drivers_write_their_version_elsewhere(h100):
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
    (h100 / "proc/driver/nvidia/version").write_text(text)
    assert nvidia.gpus(h100)[0]["driver"] == "535.129.03"


def test_an_idle_gpu():
    gpu = nvidia.open_gpu(Nvml(IDLE))
    reading = gpu.read()
    assert reading.clock_hz == 555e6
    assert reading.max_clock_hz == 1980e6
    assert reading.memory_clock_hz == 2619e6
    assert reading.temperature_celsius == 32
    assert reading.power_watt == pytest.approx(115.52)
    assert reading.throttle_reasons == ()  # being idle is no fault
    assert gpu.energy_joule() == pytest.approx(2068.491)
    assert gpu.processes() == []
    assert gpu.utilisation() == 0


def test_a_busy_gpu():
    gpu = nvidia.open_gpu(Nvml(BUSY))
    assert gpu.read().clock_hz == gpu.read().max_clock_hz
    assert gpu.processes() == [nvidia.GpuProcess(416, 9133096960)]
    assert gpu.utilisation() == 1


def test_a_gpu_that_answers_nothing_is_no_error():
    gpu = nvidia.open_gpu(Nvml({}))
    assert gpu.read() == nvidia.GpuReading(None, None, None, None, None, None)
    assert gpu.energy_joule() is None
    assert gpu.processes() == []


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x1, ()),
        (0x4, ("power cap",)),
        (0x20 | 0x8, ("hardware slowdown", "thermal, by software")),
        (0x40, ("thermal, by hardware",)),
        (0x80 | 0x1, ("power brake",)),
    ],
)
def test_throttle_reasons_have_names(bits, names):
    assert nvidia.throttle_reasons(bits) == names


@pytest.mark.parametrize(
    ("visible", "handle"),
    [(None, "index 0"), ("2,0", "index 2"), ("GPU-1111", "uuid GPU-1111")],
)
def test_it_is_the_gpu_that_cuda_would_use(monkeypatch, visible, handle):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia.open_gpu(Nvml(IDLE)).handle == handle


@pytest.mark.parametrize(
    ("visible", "which", "handle"),
    [
        (None, nvidia.Ordinal(1), "index 1"),
        ("2,0", nvidia.Ordinal(1), "index 0"),
        ("2,GPU-1111", nvidia.Ordinal(1), "uuid GPU-1111"),
        ("2,0", nvidia.Ordinal(0, "3,1"), "index 3"),  # an arm's worker has a variable of its own
    ],
)
def test_a_gpu_is_found_by_its_number_among_those_that_are_visible(monkeypatch, visible, which, handle):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia.open_gpu(Nvml(IDLE), which=which).handle == handle


def test_a_number_beyond_those_that_are_visible_has_a_reason(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert "hides it" in nvidia.open_gpu(Nvml(IDLE), which=nvidia.Ordinal(1))


@pytest.mark.parametrize(
    ("variable", "names"), [(None, ["0"]), ("3, 1", ["3", "1"]), ("GPU-1111", ["GPU-1111"]), ("", []), ("-1", [])]
)
def test_the_visible_gpus_are_those_that_cuda_finds(monkeypatch, h100, variable, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert nvidia.visible(h100) == names


def test_a_card_is_known_without_its_serial():
    one, other = ({"nvmlDeviceGetUUID": f"GPU-{digits}"} for digits in ("1111", "2222"))
    first = nvidia.open_gpu(Nvml(one)).identity()
    assert len(first) == 6
    assert first != nvidia.open_gpu(Nvml(other)).identity()
    assert nvidia.open_gpu(Nvml({})).identity() is None


@pytest.mark.parametrize(("visible", "reason"), [("MIG-1111", "MIG"), ("", "hides"), ("-1", "hides")])
def test_a_gpu_that_cannot_be_read_has_a_reason(monkeypatch, visible, reason):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = Nvml(IDLE)
    assert reason in nvidia.open_gpu(nvml)
    assert nvml.open == 0


def test_nvml_that_does_not_start_has_a_reason():
    assert "Driver Not Loaded" in nvidia.open_gpu(Nvml(starts=False))


def test_a_missing_library_is_named_with_its_cure(h100, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in nvidia.open_gpu(root=h100)


def test_nvml_is_given_back():
    nvml = Nvml(IDLE)
    gpu = nvidia.open_gpu(nvml)
    assert nvml.open == 1
    gpu.close()
    assert nvml.open == 0


def test_this_machines_gpu():
    """The recorded interface is the real one."""
    pytest.importorskip("pynvml")
    gpu = nvidia.open_gpu()
    if not isinstance(gpu, nvidia.Gpu):
        pytest.skip(str(gpu))
    reading = gpu.read()
    assert 0 < reading.temperature_celsius < 120
    assert 0 < reading.clock_hz <= reading.max_clock_hz
    assert gpu.energy_joule() is None or gpu.energy_joule() > 0
    gpu.close()
