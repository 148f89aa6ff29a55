"""What a run sees of its machine: differences between samples, flags for heat, and nothing made up."""

import dataclasses
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mtbench.machine import macos, macos_watch, nvidia, watch
from mtbench.machine.nvidia import Ordinal
from mtbench.machine.sleep import SleepClock
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

    def utilisation(self):
        return 0.5

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
    assert datetime.fromisoformat(facts.pop("taken_at")).tzinfo is UTC
    assert facts.pop("power_source") in ("mains", "battery")
    assert facts.pop("slept_s") == 0
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


@pytest.mark.parametrize(
    ("reading", "level"),
    [
        (Reading(), "nominal"),
        (Reading(thermal_pressure="moderate"), "moderate"),
        (Reading(thermal_state="fair", thermal_pressure="trapping"), "trapping"),
        (Reading(thermal_state="critical", thermal_pressure="heavy"), "trapping"),
        (Reading(cpu_throttled=True), "heavy"),
        (Reading(gpu=FakeGpu(throttle_reasons=("thermal, by hardware",)).reading), "heavy"),
        (Reading(thermal_pressure="unknown (7)"), "nominal"),
    ],
)
def test_heat_is_one_level_whoever_says_it(reading, level):
    assert reading.heat == level


def test_sleep_is_what_passed_between_two_samples():
    clock = SimpleNamespace(going=0.0, standing=0.0)
    watched = Watch(gpu="none", sleep=SleepClock((lambda: clock.going, lambda: clock.standing)))
    assert watched.sample().slept_s is None
    clock.going, clock.standing = 100.0, 6.0
    assert watched.sample().slept_s == 94
    clock.going, clock.standing = 101.3, 7.0
    assert watched.sample().slept_s == 0  # a clock that was set is no sleep


def test_the_gpu_is_read_and_given_back():
    gpu = FakeGpu(clock_hz=1980e6, power_watt=474.059)
    with Watch(gpu=gpu) as watched:
        assert watched.sample().gpu.power_watt == 474.059
        assert not gpu.closed
    assert gpu.closed


def test_each_arm_is_told_of_the_gpu_that_it_uses():
    gpus = [FakeGpu(clock_hz=1980e6, power_watt=400.0), FakeGpu(clock_hz=1200e6, power_watt=300.0)]
    opened = []

    def open_gpu(which):
        opened.append(which.number)
        return gpus[which.number]

    with Watch(open_gpu=open_gpu) as watched:
        readings = watched.sample_with([Ordinal(0), Ordinal(1), Ordinal(1)])
        assert [reading.gpu.power_watt for reading in readings] == [400.0, 300.0, 300.0]
        assert len({reading.taken_at for reading in readings}) == 1
        assert opened == [0, 1]
    assert [gpu.closed for gpu in gpus] == [True, True]


def test_a_gpu_that_cannot_be_read_is_not_taken_for_the_first():
    watched = Watch(open_gpu=lambda which: "hidden" if which.number else FakeGpu(power_watt=400.0))
    (reading,) = watched.sample_with([Ordinal(1)])
    assert reading.gpu is None
    assert watched.identity_of(Ordinal(1)) is None


def test_a_gpu_that_cannot_be_read_leaves_its_reason():
    watched = Watch(gpu="NVML does not start")
    assert watched.sample().gpu is None
    assert watched.gpu_unseen == "NVML does not start"


@pytest.fixture
def mac(monkeypatch):
    """A Mac's interfaces, on stand-ins; what its tools print may be changed, and `asked` says which were run."""
    import psutil

    info = SimpleNamespace(thermalState=lambda: 2, isLowPowerModeEnabled=lambda: True)
    printed = {"/usr/sbin/sysctl": "2\n", "/usr/bin/pmset": " powermode 2\n", "/usr/sbin/ioreg": ""}
    asked = []

    def output(*command):
        asked.append(command)
        if isinstance(printed[command[0]], Exception):
            raise printed[command[0]]
        return printed[command[0]]

    used = iter([1000, 5000, 4000, 4000, 4000, 4000])
    monkeypatch.setattr(watch.sys, "platform", "darwin")
    monkeypatch.setattr(macos, "process_info", lambda: info)
    monkeypatch.setattr(macos, "ThermalPressure", lambda: SimpleNamespace(read=lambda: "heavy"))
    monkeypatch.setattr(macos, "output", output)
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=next(used), sin=10**9, sout=10**9))
    sensors = SimpleNamespace(read=lambda: {"gpu_clock_hz": 1.3e9, "cpu_temperature_celsius": 91.0}, close=lambda: None)
    monkeypatch.setattr(macos_watch, "Sensors", lambda: sensors)
    return SimpleNamespace(printed=printed, asked=asked, info=info)


def test_macos_is_asked_without_administrator_rights(mac):
    """The whole path of a sample on a Mac, on stand-ins for its interfaces."""
    watched = Watch(gpu="none")
    first, second, third = watched.sample(), watched.sample(), watched.sample()
    assert (first.thermal_state, first.thermal_pressure, first.low_power_mode) == ("serious", "heavy", True)
    assert (first.swapped_bytes, second.swapped_bytes, third.swapped_bytes) == (None, 4000, 0)
    assert second.thermal_flag
    assert (second.memory_pressure, second.power_mode) == ("warning", "high")
    assert (second.gpu_clock_hz, second.cpu_temperature_celsius) == (1.3e9, 91.0)
    assert [command[0] for command in mac.asked].count("/usr/bin/pmset") == 1  # the owner chooses it by hand
    assert watched.not_read == []


def test_slow_and_odd_probes_leave_gaps_and_are_named_once(mac, monkeypatch):
    import psutil

    mac.printed["/usr/bin/pmset"] = subprocess.TimeoutExpired("pmset", 2)
    mac.printed["/usr/sbin/ioreg"] = "no property list"
    mac.info.thermalState = lambda: 1 / 0

    def broken():
        raise OSError("swap")

    monkeypatch.setattr(psutil, "swap_memory", broken)
    monkeypatch.setattr(watch, "power_source", broken)
    watched = Watch(gpu="none")
    readings = [watched.sample() for _ in range(5)]
    assert {reading.thermal_pressure for reading in readings} == {"heavy"}
    assert {reading.power_mode for reading in readings} == {reading.power_source for reading in readings} == {None}
    named = sorted(name.partition(":")[0] for name in watched.not_read)
    assert named == ["gpu_load", "power_mode", "power_source", "swap_used_bytes", "thermal_state"]
    assert "power_mode: TimeoutExpired" in watched.not_read
    commands = [command[0] for command in mac.asked]
    assert commands.count("/usr/bin/pmset") == 1  # each time it would cost seconds
    assert commands.count("/usr/sbin/ioreg") == watch.TRIES


def test_a_real_sample_is_plain_and_no_pause(monkeypatch):
    def pause(seconds):
        raise AssertionError(f"a sample sleeps for {seconds} s")

    monkeypatch.setattr(time, "sleep", pause)
    with Watch() as watched:
        watched.sample()
        before = time.process_time()  # which other programs do not take part in
        reading = watched.sample()
        spent = time.process_time() - before
    assert json.loads(json.dumps(dataclasses.asdict(reading)))["load"] >= 0
    assert spent < 0.25  # a hundred times what it takes here
