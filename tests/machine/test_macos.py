"""The readers of macOS, on text that its tools print and on stand-ins for its interfaces.

The names asked for are those of Apple's documentation; on a Mac they are asked for real.
"""

import plistlib
import sys

import pytest

from mtbench.machine import macos

M1_PRO = """\
machdep.cpu.brand_string: Apple M1 Pro
hw.model: MacBookPro18,3
hw.nperflevels: 2
hw.l2cachesize: 4194304
kern.hv_vmm_present: 0
sysctl.proc_translated: 0
hw.perflevel0.name: Performance
hw.perflevel0.physicalcpu: 8
hw.perflevel0.l2cachesize: 12582912
hw.perflevel0.cpusperl2: 4
hw.perflevel1.name: Efficiency
hw.perflevel1.physicalcpu: 2
hw.perflevel1.l2cachesize: 4194304
hw.perflevel1.cpusperl2: 2
"""

INTEL = """\
machdep.cpu.brand_string: Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz
hw.model: MacBookPro16,1
hw.l2cachesize: 262144
hw.l3cachesize: 16777216
kern.hv_vmm_present: 0
"""


def test_apple_silicon():
    values = macos.parse_sysctl(M1_PRO)
    assert macos.chip(values) == "Apple M1 Pro"
    assert macos.model(values) == "MacBookPro18,3"
    assert macos.core_kinds(values) == {"performance": 8, "efficiency": 2}
    assert macos.last_level_cache_bytes(values) == 2 * 12 * 2**20  # two clusters of four
    assert macos.virtualised(values) is False
    assert macos.translated(values) is False


def test_chips_whose_fastest_cores_have_another_name():
    values = macos.parse_sysctl(
        "hw.nperflevels: 2\nhw.perflevel0.name: Super\nhw.perflevel0.physicalcpu: 6\n"
        "hw.perflevel1.name: Performance\nhw.perflevel1.physicalcpu: 12\n"
    )
    assert macos.core_kinds(values) == {"super": 6, "performance": 12}


def test_an_intel_mac():
    values = macos.parse_sysctl(INTEL)
    assert macos.core_kinds(values) == {}
    assert macos.last_level_cache_bytes(values) == 16 * 2**20


def test_a_virtual_mac_and_a_translated_python():
    values = macos.parse_sysctl("kern.hv_vmm_present: 1\nsysctl.proc_translated: 1\n")
    assert macos.virtualised(values) is True
    assert macos.translated(values) is True
    assert macos.virtualised({}) is None


def test_the_version_of_macos_is_the_systems_and_not_what_python_is_told(monkeypatch):
    monkeypatch.setattr(macos.platform, "mac_ver", lambda: ("16.0", ("", "", ""), "arm64"))
    assert macos.os_version(macos.parse_sysctl("kern.osproductversion: 26.2\n")) == "26.2"
    assert macos.os_version({}) == "16.0"


def test_nothing_private_is_asked_for():
    assert not any(word in name for name in macos._NAMES for word in ("hostname", "uuid", "serial", "bootargs"))


def test_the_gpu_from_the_io_registry():
    archive = plistlib.dumps(
        [{"IOObjectClass": "AGXAcceleratorG13X", "model": "Apple M1 Pro", "gpu-core-count": 16, "other": b"x"}]
    ).decode()
    assert macos.parse_gpus(archive) == [{"name": "Apple M1 Pro GPU", "cores": 16}]
    assert macos.parse_gpus("") == []


class ProcessInfo:
    """Stands in for NSProcessInfo: these two selectors, as in developer.apple.com/documentation/foundation."""

    def __init__(self, state: int = 0, low_power: bool = False) -> None:
        self.state, self.low_power = state, low_power

    def thermalState(self):
        return self.state

    def isLowPowerModeEnabled(self):
        return self.low_power


def test_thermal_states_have_apples_names():
    names = [macos.thermal_state(ProcessInfo(state)) for state in range(5)]
    assert names == ["nominal", "fair", "serious", "critical", "unknown (4)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("System-wide power settings:\nCurrently in use:\n lowpowermode         1\n sleep                1\n", True),
        ("Currently in use:\n lowpowermode         0\n womp                 1\n", False),
        ("Currently in use:\n powermode            1\n womp                 1\n", True),
        ("Currently in use:\n powermode            2\n", False),  # high power
        ("Currently in use:\n sleep                1\n", None),
    ],
)
def test_low_power_mode_from_pmset(text, expected):
    assert macos.parse_low_power_mode(text) is expected


def test_low_power_mode_prefers_the_documented_interface():
    def unasked() -> str:
        pytest.fail("pmset was asked")

    assert macos.low_power_mode(ProcessInfo(low_power=True), unasked) is True
    assert macos.low_power_mode(ProcessInfo(), unasked) is False
    assert macos.low_power_mode(None, lambda: " lowpowermode 1\n") is True


class Notify:
    """Stands in for notify(3): both functions return 0 for success and write through the pointer."""

    def __init__(self, level: int, registers: bool = True, answers: bool = True) -> None:
        self.level, self.registers, self.answers = level, registers, answers

    def notify_register_check(self, name, token):
        assert name == b"com.apple.system.thermalpressurelevel"
        token._obj.value = 7
        return 0 if self.registers else 1

    def notify_get_state(self, token, state):
        assert token.value == 7
        state._obj.value = self.level
        return 0 if self.answers else 1


def test_thermal_pressure_has_powermetrics_names():
    names = [macos.ThermalPressure(Notify(level)).read() for level in range(6)]
    assert names == ["nominal", "moderate", "heavy", "trapping", "sleeping", "unknown (5)"]


def test_thermal_pressure_is_none_where_the_name_is_gone():
    assert macos.ThermalPressure(Notify(2, registers=False)).read() is None
    assert macos.ThermalPressure(Notify(2, answers=False)).read() is None


@pytest.mark.skipif(sys.platform != "darwin", reason="asks this Mac")
def test_this_mac():
    values = macos.sysctl()
    assert macos.chip()
    assert macos.model()
    if values["machdep.cpu.brand_string"].startswith("Apple"):
        assert sum(macos.core_kinds().values()) >= 4 or macos.virtualised()
        assert macos.last_level_cache_bytes()
    if macos.process_info() is not None:
        assert macos.thermal_state(macos.process_info()) in macos.THERMAL_STATES
        assert macos.low_power_mode(macos.process_info(), str) in (True, False)
    pressure = macos.ThermalPressure().read()
    assert pressure is None or pressure in macos.THERMAL_PRESSURES
