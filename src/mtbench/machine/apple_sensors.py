"""Apple's sensors, in a process of their own: `python -m mtbench.machine.apple_sensors` answers each line with a line of JSON.

IOReport counts how long the GPU ran at which clock, and IOHIDEventSystem reads the temperatures of the chip, both without
administrator rights. Apple documents neither; the names are those that macmon, asitop's successors and Chromium use. A wrong
guess about a C function ends a process, so it must not be the one that measures. Never run on a Mac so far: what does not
fit leaves a value out.
"""

import ctypes
import json
import plistlib
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mtbench.machine.macos import output

POINTER, LONG, INT, U32, U64, DOUBLE, TEXT = (
    ctypes.c_void_p, ctypes.c_long, ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_double, ctypes.c_char_p,
)  # fmt: skip

Functions = dict[str, tuple[Any, list[Any]]]

IOREPORT: Functions = {
    "IOReportCopyChannelsInGroup": (POINTER, [POINTER, POINTER, U64, U64, U64]),
    "IOReportCreateSubscription": (POINTER, [POINTER, POINTER, ctypes.POINTER(POINTER), U64, POINTER]),
    "IOReportCreateSamples": (POINTER, [POINTER, POINTER, POINTER]),
    "IOReportCreateSamplesDelta": (POINTER, [POINTER, POINTER, POINTER]),
    "IOReportChannelGetChannelName": (POINTER, [POINTER]),
    "IOReportStateGetCount": (INT, [POINTER]),
    "IOReportStateGetNameForIndex": (POINTER, [POINTER, INT]),
    "IOReportStateGetResidency": (ctypes.c_int64, [POINTER, INT]),
}
IOKIT: Functions = {
    "IOHIDEventSystemClientCreate": (POINTER, [POINTER]),
    "IOHIDEventSystemClientSetMatching": (INT, [POINTER, POINTER]),
    "IOHIDEventSystemClientCopyServices": (POINTER, [POINTER]),
    "IOHIDServiceClientCopyProperty": (POINTER, [POINTER, POINTER]),
    "IOHIDServiceClientCopyEvent": (POINTER, [POINTER, ctypes.c_int64, INT, ctypes.c_int64]),
    "IOHIDEventGetFloatValue": (DOUBLE, [POINTER, INT]),
}
FOUNDATION: Functions = {
    "CFStringCreateWithCString": (POINTER, [POINTER, TEXT, U32]),
    "CFStringGetCString": (ctypes.c_ubyte, [POINTER, TEXT, LONG, U32]),
    "CFArrayGetCount": (LONG, [POINTER]),
    "CFArrayGetValueAtIndex": (POINTER, [POINTER, LONG]),
    "CFDictionaryGetValue": (POINTER, [POINTER, POINTER]),
    "CFDictionaryGetCount": (LONG, [POINTER]),
    "CFDictionaryCreateMutableCopy": (POINTER, [POINTER, LONG, POINTER]),
    "CFDictionaryCreateMutable": (POINTER, [POINTER, LONG, POINTER, POINTER]),
    "CFDictionarySetValue": (None, [POINTER, POINTER, POINTER]),
    "CFNumberCreate": (POINTER, [POINTER, LONG, POINTER]),
    "CFRelease": (None, [POINTER]),
}
"""Result and arguments of each function, as the headers and their users declare them."""

UTF8 = 0x08000100  # kCFStringEncodingUTF8
SINT32 = 3  # kCFNumberSInt32Type
VENDOR_PAGE, TEMPERATURE_USAGE = 0xFF00, 5  # kHIDPage_AppleVendor, kHIDUsage_AppleVendor_TemperatureSensor
TEMPERATURE = 15  # kIOHIDEventTypeTemperature; its field is the type shifted by 16 bits

IDLE_STATES = ("OFF", "IDLE", "DOWN")
CPU_SENSORS = ("pACC", "eACC", "PMU tdie")  # M1 and M2 by core, later chips by place on the die
GPU_SENSORS = ("GPU MTR Temp",)


def declared(library: Any, functions: Functions) -> Any:
    """A library with its functions' types set; raises AttributeError where one is gone."""
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Foundation:
    """The few functions of Core Foundation that are needed to hand texts and numbers over, and to read lists."""

    def __init__(self, library: Any) -> None:
        self.cf = library

    def text(self, words: str) -> Any:
        return self.cf.CFStringCreateWithCString(None, words.encode(), UTF8)

    def read(self, text: Any) -> str:
        if not text:
            return ""
        buffer = ctypes.create_string_buffer(256)
        return buffer.value.decode() if self.cf.CFStringGetCString(text, buffer, len(buffer), UTF8) else ""

    def items(self, array: Any) -> Iterator[Any]:
        for index in range(self.cf.CFArrayGetCount(array) if array else 0):
            yield self.cf.CFArrayGetValueAtIndex(array, index)

    def release(self, thing: Any) -> None:
        if thing:
            self.cf.CFRelease(thing)


class GpuClock:
    """The GPU's mean clock while it worked, between two readings, from the time that it spent in each state."""

    def __init__(self, foundation: Foundation, library: Any, table: Sequence[float]) -> None:
        self.foundation, self.library, self.table = foundation, library, table
        cf = foundation.cf
        group, subgroup = foundation.text("GPU Stats"), foundation.text("GPU Performance States")
        found = library.IOReportCopyChannelsInGroup(group, subgroup, 0, 0, 0)
        if not found:
            raise OSError("IOReport has no GPU Performance States")
        channels = cf.CFDictionaryCreateMutableCopy(None, cf.CFDictionaryGetCount(found), found)
        self.subscribed = POINTER()
        self.subscription = library.IOReportCreateSubscription(None, channels, ctypes.byref(self.subscribed), 0, None)
        if not self.subscription:
            raise OSError("IOReport gives no subscription")
        self.list_key = foundation.text("IOReportChannels")
        self.before = self._sample()

    def read(self) -> float | None:
        before, self.before = self.before, self._sample()
        between = self.library.IOReportCreateSamplesDelta(before, self.before, None)
        try:
            channels = self.foundation.cf.CFDictionaryGetValue(between, self.list_key)
            for channel in self.foundation.items(channels):
                if self.foundation.read(self.library.IOReportChannelGetChannelName(channel)) == "GPUPH":
                    return mean_clock_hz(list(self._states(channel)), self.table)
            return None
        finally:
            self.foundation.release(before)
            self.foundation.release(between)

    def _sample(self) -> Any:
        return self.library.IOReportCreateSamples(self.subscription, self.subscribed, None)

    def _states(self, channel: Any) -> Iterator[tuple[str, int]]:
        for index in range(self.library.IOReportStateGetCount(channel)):
            name = self.foundation.read(self.library.IOReportStateGetNameForIndex(channel, index))
            yield name, self.library.IOReportStateGetResidency(channel, index)


class Temperatures:
    """The chip's temperature sensors."""

    def __init__(self, foundation: Foundation, library: Any) -> None:
        self.foundation, self.library = foundation, library
        self.client = library.IOHIDEventSystemClientCreate(None)
        if not self.client:
            raise OSError("IOHIDEventSystem gives no client")
        cf = foundation.cf
        matching = cf.CFDictionaryCreateMutable(None, 0, _callbacks(cf, "Key"), _callbacks(cf, "Value"))
        for name, value in (("PrimaryUsagePage", VENDOR_PAGE), ("PrimaryUsage", TEMPERATURE_USAGE)):
            number = cf.CFNumberCreate(None, SINT32, ctypes.byref(ctypes.c_int32(value)))
            cf.CFDictionarySetValue(matching, foundation.text(name), number)
        library.IOHIDEventSystemClientSetMatching(self.client, matching)
        self.services = library.IOHIDEventSystemClientCopyServices(self.client)
        self.product = foundation.text("Product")

    def read(self) -> dict[str, float]:
        """Degrees Celsius by sensor."""
        found: dict[str, float] = {}
        for service in self.foundation.items(self.services):
            name = self.library.IOHIDServiceClientCopyProperty(service, self.product)
            event = self.library.IOHIDServiceClientCopyEvent(service, TEMPERATURE, 0, 0)
            if name and event:
                found[self.foundation.read(name)] = self.library.IOHIDEventGetFloatValue(event, TEMPERATURE << 16)
            self.foundation.release(name)
            self.foundation.release(event)
        return found


def _callbacks(library: Any, kind: str) -> Any:
    """Core Foundation's own way to keep the keys, or values, of a dictionary."""
    return ctypes.addressof(ctypes.c_byte.in_dll(library, f"kCFTypeDictionary{kind}CallBacks"))


def clock_table(states: bytes) -> list[float]:
    """The clocks of pmgr's `voltage-states9`, hertz: pairs of 32 bits, a clock and its voltage; the first may be 0, for off."""
    clocks = [float(clock) for clock, _ in struct.iter_unpack("<II", states[: len(states) // 8 * 8]) if clock]
    return [clock * 1e3 for clock in clocks] if clocks and max(clocks) < 1e7 else clocks  # some chips give kilohertz


def mean_clock_hz(states: Sequence[tuple[str, int]], table: Sequence[float]) -> float | None:
    """The mean clock of the time in states that are not idle; None where nothing ran, or the states are not the table's."""
    active = [time for name, time in states if name not in IDLE_STATES]
    if len(active) != len(table) or sum(active) <= 0:
        return None
    return sum(time * clock for time, clock in zip(active, table, strict=True)) / sum(active)


def hottest(sensors: dict[str, float], names: Sequence[str]) -> float | None:
    """The highest of the sensors whose names begin so; a dead one reads 0 or less."""
    return max(
        (value for name, value in sensors.items() if name.startswith(tuple(names)) and 0 < value < 150), default=None
    )


def gpu_clock_table() -> list[float]:
    entries = plistlib.loads(output("/usr/sbin/ioreg", "-a", "-r", "-d", "1", "-n", "pmgr").encode())
    return next((clock_table(entry["voltage-states9"]) for entry in entries if "voltage-states9" in entry), [])


def main() -> None:
    """Serves readings until its input ends. What cannot be had is left out, and named once on the error stream."""
    load = ctypes.CDLL
    foundation = Foundation(
        declared(load("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"), FOUNDATION)
    )
    clock = temperatures = None
    try:
        clock = GpuClock(foundation, declared(load("/usr/lib/libIOReport.dylib"), IOREPORT), gpu_clock_table())
    except Exception as error:
        sys.stderr.write(f"no GPU clock: {type(error).__name__}\n")
    try:
        iokit = declared(load("/System/Library/Frameworks/IOKit.framework/IOKit"), IOKIT)
        temperatures = Temperatures(foundation, iokit)
    except Exception as error:
        sys.stderr.write(f"no temperatures: {type(error).__name__}\n")
    for _ in sys.stdin:
        sensors = {} if temperatures is None else temperatures.read()
        reading = {
            "gpu_clock_hz": None if clock is None else clock.read(),
            "cpu_temperature_celsius": hottest(sensors, CPU_SENSORS),
            "gpu_temperature_celsius": hottest(sensors, GPU_SENSORS),
        }
        sys.stdout.write(json.dumps(reading) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
