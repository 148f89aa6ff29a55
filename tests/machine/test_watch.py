"""What a run sees of its machine: differences between samples, flags for heat, and nothing made up."""

import dataclasses
import json
import math
import sys
import time
from types import SimpleNamespace

import pytest

from mtbench.machine import macos, nvidia, watch
from mtbench.machine.watch import Reading, Watch

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="samples Linux")


class FakeGpu(nvidia.Gpu):
    """A GPU that gives one reading, whatever it is asked."""

    def __init__(self, **facts) -> None:
        nothing = dict.fromkeys(field.name for field in dataclasses.fields(nvidia.GpuReading))
        self.reading = nvidia.GpuReading(**nothing | facts)
        self.closed = False

    def read(self):
        return self.reading

    def close(self):
        self.closed = True


@pytest.fixture
def root(tmp_path):
    """A small Linux whose files the test rewrites between samples."""

    def write(**files: str) -> None:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return SimpleNamespace(path=tmp_path, write=write)


@linux_only
def test_steal_is_the_share_since_the_sample_before(root):
    root.write(proc__stat="cpu  1000 0 0 9000 0 0 0 500 0 0\n")
    watched = Watch(root.path)
    assert watched.sample().steal_fraction is None
    root.write(proc__stat="cpu  1050 0 0 9045 0 0 0 505 0 0\n")
    assert watched.sample().steal_fraction == pytest.approx(0.05)
    assert watched.sample().steal_fraction is None  # no tick has passed
    root.write(proc__stat="cpu  1150 0 0 9045 0 0 0 505 0 0\n")
    assert watched.sample().steal_fraction == 0


@linux_only
def test_swapping_is_what_moved_since_the_sample_before(root):
    meminfo = "SwapTotal: 2000 kB\nSwapFree: 1500 kB\n"
    root.write(proc__meminfo=meminfo, proc__vmstat="pswpin 10\npswpout 20\n")
    watched = Watch(root.path)
    first = watched.sample()
    assert first.swap_used_bytes == 500 * 1024
    assert first.swapped_bytes is None
    assert watched.sample().swapped_bytes == 0
    root.write(proc__vmstat="pswpin 11\npswpout 21\n")
    assert watched.sample().swapped_bytes > 0


@linux_only
def test_throttling_is_a_flag_only_while_it_happens(root):
    counter = "sys__devices__system__cpu__cpu0__thermal_throttle__core_throttle_count"
    root.write(**{counter: "7\n"})
    watched = Watch(root.path)
    assert watched.sample().thermal_flag is None
    root.write(**{counter: "8\n"})
    assert "slowed down for its heat" in watched.sample().thermal_flag
    assert watched.sample().thermal_flag is None


@linux_only
def test_what_the_machine_does_not_say_is_none(root):
    with Watch(root.path) as watched:
        watched.sample()
        reading = watched.sample()
    facts = dataclasses.asdict(reading)
    assert facts.pop("load") >= 0
    assert facts.pop("power_source") in ("mains", "battery")
    assert set(facts.values()) == {None}


@pytest.mark.parametrize(
    ("reading", "flag"),
    [
        (Reading(thermal_state="nominal", thermal_pressure="nominal"), None),
        (Reading(thermal_state="fair", thermal_pressure="moderate"), None),
        (Reading(thermal_state="fair", thermal_pressure="heavy"), "'heavy'"),
        (Reading(thermal_state="serious"), "'serious'"),
        (Reading(cpu_throttled=True), "processor"),
        (Reading(cpu_throttled=False), None),
        (Reading(gpu=FakeGpu(throttle_reasons=("thermal, by software",)).reading), "thermal, by software"),
        (Reading(gpu=FakeGpu(throttle_reasons=("power cap",)).reading), None),
        (Reading(gpu=FakeGpu().reading), None),
        (Reading(), None),
    ],
)
def test_heat_is_flagged_where_it_slows_down(reading, flag):
    assert reading.thermal_flag is None if flag is None else flag in reading.thermal_flag


def test_the_gpu_is_read_and_given_back():
    gpu = FakeGpu(clock_hz=1980e6, power_watt=474.059)
    with Watch(gpu=gpu) as watched:
        assert watched.sample().gpu.power_watt == 474.059
        assert not gpu.closed
    assert gpu.closed


def test_a_gpu_that_cannot_be_read_leaves_its_reason():
    watched = Watch(gpu="NVML does not start")
    assert watched.sample().gpu is None
    assert watched.gpu_unseen == "NVML does not start"


def test_macos_is_asked_without_administrator_rights(monkeypatch):
    """The whole path of a sample on a Mac, on stand-ins for its interfaces."""
    import psutil

    info = SimpleNamespace(thermalState=lambda: 2, isLowPowerModeEnabled=lambda: True)
    monkeypatch.setattr(watch.sys, "platform", "darwin")
    monkeypatch.setattr(macos, "process_info", lambda: info)
    monkeypatch.setattr(macos, "ThermalPressure", lambda: SimpleNamespace(read=lambda: "heavy"))
    used = iter([1000, 5000, 4000])
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=next(used), sin=10**9, sout=10**9))
    watched = Watch(gpu="none")
    first, second, third = watched.sample(), watched.sample(), watched.sample()
    assert (first.thermal_state, first.thermal_pressure, first.low_power_mode) == ("serious", "heavy", True)
    assert (first.swapped_bytes, second.swapped_bytes, third.swapped_bytes) == (None, 4000, 0)
    assert second.thermal_flag


def test_a_real_sample_is_plain_and_cheap():
    with Watch() as watched:
        watched.sample()
        spent = math.inf
        for _ in range(20):  # whatever else runs takes the processor away now and then
            start = time.perf_counter()
            reading = watched.sample()
            spent = min(spent, time.perf_counter() - start)
    assert json.loads(json.dumps(dataclasses.asdict(reading)))["load"] >= 0
    assert spent < 0.25  # a hundred times what it takes here: it must only never become a pause
