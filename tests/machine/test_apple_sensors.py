"""Apple's sensors: names as their headers have them, sums on recorded tables, and a process that may die."""

import ctypes
import json
import plistlib
import re
import struct
import sys
import time

import pytest

from mtbench.machine import apple_sensors, macos_watch
from mtbench.machine.macos_watch import Sensors

# Hertz and millivolts of an iPhone's GPU, as its device tree has them; the first is for off.
CLOCKS = [0, 360e6, 519e6, 660e6, 804e6, 948e6, 1194e6]
STATES = b"".join(struct.pack("<II", int(clock), 400) for clock in CLOCKS)


def test_the_clocks_of_the_states_are_read_in_either_unit():
    assert apple_sensors.clock_table(STATES) == CLOCKS[1:]
    in_kilohertz = b"".join(struct.pack("<II", int(clock / 1000), 400) for clock in CLOCKS)
    assert apple_sensors.clock_table(in_kilohertz) == CLOCKS[1:]
    assert apple_sensors.clock_table(STATES + b"\0\0") == CLOCKS[1:]
    assert apple_sensors.clock_table(b"") == []


def test_the_mean_clock_is_of_the_time_in_which_the_gpu_worked():
    states = [("OFF", 1000), ("P1", 0), ("P2", 0), ("P3", 0), ("P4", 0), ("P5", 100), ("P6", 300)]
    assert apple_sensors.mean_clock_hz(states, CLOCKS[1:]) == pytest.approx((948e6 + 3 * 1194e6) / 4)
    assert apple_sensors.mean_clock_hz([(name, 0) for name, _ in states], CLOCKS[1:]) is None  # nothing ran
    assert apple_sensors.mean_clock_hz(states[:-1], CLOCKS[1:]) is None  # another chip's table


def test_the_hottest_sensor_counts_and_dead_ones_do_not():
    sensors = {
        "pACC MTR Temp Sensor2": 88.5,
        "eACC MTR Temp Sensor0": 60.0,
        "GPU MTR Temp Sensor1": 91.0,
        "gas gauge": 99,
    }
    assert apple_sensors.hottest(sensors, apple_sensors.CPU_SENSORS) == 88.5
    assert apple_sensors.hottest(sensors, apple_sensors.GPU_SENSORS) == 91.0
    assert apple_sensors.hottest({"PMU tdie1": -9200.0, "PMU tdie2": 55.0}, apple_sensors.CPU_SENSORS) == 55.0
    assert apple_sensors.hottest({}, apple_sensors.CPU_SENSORS) is None


def test_functions_have_the_names_of_their_headers():
    """As zeus-apple-silicon, macmon and Chromium declare them; a C function of another name would end the process."""
    known = {
        "IOReportCopyChannelsInGroup", "IOReportCreateSubscription", "IOReportCreateSamples",
        "IOReportCreateSamplesDelta", "IOReportChannelGetChannelName", "IOReportStateGetCount",
        "IOReportStateGetNameForIndex", "IOReportStateGetResidency",
    }  # fmt: skip
    assert set(apple_sensors.IOREPORT) == known
    for functions in (apple_sensors.IOREPORT, apple_sensors.IOKIT, apple_sensors.FOUNDATION):
        for name, (result, arguments) in functions.items():
            assert re.match(r"(IOReport|IOHID|CF)[A-Z]", name)
            # a pointer that passes as a C int, the default, is cut in half
            assert result is None or issubclass(result, ctypes._SimpleCData)
            assert all(hasattr(one, "from_param") for one in arguments)


def test_a_function_that_is_gone_is_an_error_of_python():
    with pytest.raises(AttributeError):
        apple_sensors.declared(ctypes.CDLL(None), {"IOReportThatNeverWas": (None, [])})


class Library:
    """Stands in for the three C libraries: texts and lists are Python's own, and each call is answered from tables."""

    def __init__(self) -> None:
        self.samples = iter(range(1, 9))
        self.released: list[object] = []

    def CFStringCreateWithCString(self, allocator, words, encoding):
        return words.decode()

    def CFStringGetCString(self, text, buffer, size, encoding):
        buffer.value = text.encode()
        return 1

    def CFDictionaryGetCount(self, found):
        return len(found)

    def CFDictionaryCreateMutableCopy(self, allocator, capacity, found):
        return dict(found)

    def CFArrayGetCount(self, array):
        return len(array)

    def CFArrayGetValueAtIndex(self, array, index):
        return array[index]

    def CFDictionaryGetValue(self, dictionary, key):
        return dictionary[key]

    def CFRelease(self, thing):
        self.released.append(thing)

    def IOReportCopyChannelsInGroup(self, group, subgroup, *_):
        assert (group, subgroup) == ("GPU Stats", "GPU Performance States")
        return {"IOReportChannels": []}

    def IOReportCreateSubscription(self, nothing, channels, subscribed, number, last):
        return "subscription"

    def IOReportCreateSamples(self, subscription, channels, nothing):
        return {"sample": next(self.samples)}

    def IOReportCreateSamplesDelta(self, before, after, nothing):
        assert after["sample"] == before["sample"] + 1
        states = [("OFF", 5), ("P1", 100), ("P2", 0), ("P3", 0), ("P4", 0), ("P5", 0), ("P6", 100)]
        return {"IOReportChannels": [{"name": "GPU_PERF", "states": []}, {"name": "GPUPH", "states": states}]}

    def IOReportChannelGetChannelName(self, channel):
        return channel["name"]

    def IOReportStateGetCount(self, channel):
        return len(channel["states"])

    def IOReportStateGetNameForIndex(self, channel, index):
        return channel["states"][index][0]

    def IOReportStateGetResidency(self, channel, index):
        return channel["states"][index][1]


def test_the_gpus_clock_is_read_between_two_questions():
    library = Library()
    clock = apple_sensors.GpuClock(apple_sensors.Foundation(library), library, CLOCKS[1:])
    assert clock.read() == pytest.approx((360e6 + 1194e6) / 2)
    assert clock.read() == pytest.approx((360e6 + 1194e6) / 2)
    assert {"sample": 1} in library.released  # a long sweep keeps no samples


def served(program: str) -> Sensors:
    return Sensors([sys.executable, "-c", program])


def test_the_sensors_process_answers_each_question():
    sensors = served("import sys\nfor line in sys.stdin: print('{\"gpu_clock_hz\": 1e9}', flush=True)")
    assert [sensors.read(), sensors.read()] == [{"gpu_clock_hz": 1e9}] * 2
    sensors.close()
    sensors.close()


def test_a_sensors_process_that_dies_or_hangs_is_an_error_that_can_be_caught(monkeypatch):
    sensors = served("import os, sys; sys.stdin.readline(); os.abort()")
    for _ in range(2):
        with pytest.raises(OSError, match=r"has ended|Broken pipe"):
            sensors.read()
    sensors.close()
    monkeypatch.setattr(macos_watch, "SENSORS_TIMEOUT_S", 0.2)
    sensors = served("import time; time.sleep(600)")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        sensors.read()
    sensors.close()
    assert time.monotonic() - started < 60


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has these libraries")
def test_on_another_system_the_sensors_end_at_once():
    sensors = Sensors()
    with pytest.raises(OSError, match=r"has ended|Broken pipe"):
        sensors.read()
    sensors.close()


def test_the_load_of_the_gpu_is_its_drivers():
    entry = {"IOObjectClass": "AGXAcceleratorG15X", "PerformanceStatistics": {"Device Utilization %": 29, "other": 1}}
    archive = plistlib.dumps([entry, {"IOObjectClass": "other"}]).decode()
    assert macos_watch.parse_gpu_load(archive) == 0.29
    assert macos_watch.parse_gpu_load("") is None


@pytest.mark.parametrize(("printed", "level"), [("1\n", "normal"), ("2\n", "warning"), ("4\n", "critical"), ("", None)])
def test_memory_pressure_has_dispatchs_names(monkeypatch, printed, level):
    asked = []
    monkeypatch.setattr(macos_watch.macos, "output", lambda *command: (asked.append(command), printed)[1])
    assert macos_watch.memory_pressure() == level
    assert asked == [("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level")]


def test_power_modes_have_the_owners_words():
    modes = [macos_watch.parse_power_mode(f"Currently in use:\n powermode            {mode}\n") for mode in range(3)]
    assert modes == ["automatic", "low", "high"]
    assert macos_watch.parse_power_mode(" lowpowermode 1\n") is None


@pytest.mark.skipif(sys.platform != "darwin", reason="asks this Mac")
def test_this_macs_sensors():
    sensors = Sensors()
    answer = sensors.read()
    sensors.close()
    assert json.dumps(answer)
    assert set(answer) == {"gpu_clock_hz", "cpu_temperature_celsius", "gpu_temperature_celsius"}
