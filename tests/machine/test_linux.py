"""The readers of /proc and /sys, on recorded files: a cloud machine, a hybrid laptop, an ARM board."""

import sys
from pathlib import Path

import pytest

from mtbench.machine import linux

CLOUD = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    "flags\t\t: fpu vme de pse tsc_known_freq pni hypervisor lahf_lm\npower management:\n\n",
    "proc/stat": "cpu  9149 0 3632 174689 606 0 87 12 800 0\ncpu0 1423 0 1018 91363 146 0 8 3 0 0\nctxt 427843\n",
    "proc/pressure/cpu": "some avg10=10.49 avg60=4.97 avg300=1.28 total=7200649\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/meminfo": "MemTotal:       24684096 kB\nSwapCached:            0 kB\nSwapTotal:       2097148 kB\n"
    "SwapFree:        1572860 kB\n",
    "proc/vmstat": "pgpgin 12\npswpin 3\npswpout 7\npgfault 99\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
}

LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: 13th Gen Intel(R) Core(TM)  i7-1360P\nflags\t\t: fpu vmx\n",
    "sys/devices/cpu_core/cpus": "0-7\n",
    "sys/devices/cpu_atom/cpus": "8-15\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "3400000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_driver": "intel_pstate\n",
    "sys/devices/system/cpu/cpufreq/policy8/scaling_cur_freq": "1400000\n",
    "sys/devices/system/cpu/cpufreq/policy8/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpufreq/policy8/scaling_driver": "intel_pstate\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "9\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "20\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "20\n",
    "sys/class/hwmon/hwmon0/name": "nvme\n",
    "sys/class/hwmon/hwmon0/temp1_input": "90850\n",
    "sys/class/hwmon/hwmon1/name": "coretemp\n",
    "sys/class/hwmon/hwmon1/temp1_input": "61000\n",
    "sys/class/hwmon/hwmon1/temp2_input": "64000\n",
    "sys/class/dmi/id/sys_vendor": "LENOVO\n",
    "sys/firmware/acpi/platform_profile": "low-power\n",
}

BOARD = {
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/type": "battery\n",
    "sys/class/thermal/thermal_zone1/temp": "99000\n",
}


@pytest.fixture
def machine(tmp_path):
    """Writes a recorded tree, and gives the folder that stands for /."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


def test_a_cloud_machine(machine):
    root = machine(CLOUD)
    assert linux.chip(root) == "AMD EPYC"
    assert linux.virtualised(root)
    assert linux.core_kinds(root) == {}
    assert linux.os_version(root) == "Debian GNU/Linux 12 (bookworm)"
    # A guest's time, 800, is within the 9149 of user time already.
    assert linux.cpu_times(root) == (9149 + 3632 + 174689 + 606 + 87 + 12, 12)
    assert linux.cpu_pressure(root) == pytest.approx(0.1049)
    assert linux.cpu_quota(root) == 1.5
    used, moved = linux.swap(root)
    assert used == 512 * 2**20
    assert moved % 10 == 0
    assert moved > 0
    for unknown in (linux.cpu_clock_hz, linux.temperature_celsius, linux.throttle_count, linux.low_power_mode):
        assert unknown(root) is None
    assert linux.governors(root) == set()


def test_a_hybrid_laptop(machine):
    root = machine(LAPTOP)
    assert linux.chip(root) == "13th Gen Intel(R) Core(TM) i7-1360P"
    assert not linux.virtualised(root)
    assert linux.core_kinds(root) == {"performance": 8, "efficiency": 8}
    assert linux.cpu_clock_hz(root) == 2.4e9
    assert linux.governors(root) == {("powersave", "intel_pstate")}
    assert linux.temperature_celsius(root) == 64.0  # the processor's, though the disk is hotter
    assert linux.throttle_count(root) == 29
    assert linux.low_power_mode(root) is True


def test_an_arm_board(machine):
    root = machine(BOARD)
    assert linux.chip(root) == "Raspberry Pi 5 Model B Rev 1.0"
    assert linux.temperature_celsius(root) == 48.312
    (root / "proc/device-tree/model").unlink()
    assert linux.chip(root) == "ARM implementer 0x41 part 0xd0b"


def test_an_amd_gpus_load_and_heat(tmp_path):
    monitor, card = tmp_path / "sys/class/hwmon/hwmon3", tmp_path / "sys/class/drm/card0/device"
    monitor.mkdir(parents=True)
    card.mkdir(parents=True)
    assert (linux.gpu_load(tmp_path), linux.gpu_temperature_celsius(tmp_path)) == (None, None)
    (monitor / "name").write_text("amdgpu\n")
    (monitor / "temp1_input").write_text("61000\n")
    (monitor / "temp2_input").write_text("78000\n")
    (card / "gpu_busy_percent").write_text("97\n")
    assert (linux.gpu_load(tmp_path), linux.gpu_temperature_celsius(tmp_path)) == (0.97, 78.0)


def test_a_machine_that_says_nothing(tmp_path):
    for silent in (
        linux.chip,
        linux.os_version,
        linux.last_level_cache_bytes,
        linux.cpu_times,
        linux.cpu_pressure,
        linux.cpu_clock_hz,
        linux.temperature_celsius,
        linux.throttle_count,
        linux.swap,
        linux.low_power_mode,
        linux.cpu_quota,
    ):
        assert silent(tmp_path) is None
    assert linux.virtualised(tmp_path) is False
    assert linux.gpus(tmp_path) == []


def test_a_machine_that_says_nonsense(machine):
    root = machine(
        {
            "proc/stat": "cpu  1 2\n",
            "proc/pressure/cpu": "\n",
            "proc/meminfo": "SwapTotal: many kB\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "<unknown>\n",
            "sys/class/hwmon/hwmon0/name": "coretemp\n",
            "sys/class/hwmon/hwmon0/temp1_input": "\n",
        }
    )
    for reader in (linux.cpu_times, linux.cpu_pressure, linux.swap, linux.cpu_clock_hz, linux.temperature_celsius):
        assert reader(root) is None


def test_an_unlimited_container_has_no_quota(machine):
    assert linux.cpu_quota(machine({"sys/fs/cgroup/cpu.max": "max 100000\n"})) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, True),
        ({"sys/class/dmi/id/product_name": "VMware7,1\n"}, True),
        ({"sys/hypervisor/type": "xen\n"}, True),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc.\n"}, False),
    ],
)
def test_firmware_gives_a_virtual_machine_away(machine, files, expected):
    assert linux.virtualised(machine(files)) is expected


def test_all_instances_of_the_last_cache_count_once(machine):
    """Two clusters of two cores with 32 MiB each, seen by all four cores."""
    files = {}
    for cpu in range(4):
        for index, (level, size, shared) in enumerate(
            [(1, "32K", str(cpu)), (2, "1024K", str(cpu)), (3, "32768K", "0-1" if cpu < 2 else "2-3")]
        ):
            folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            files |= {f"{folder}/level": f"{level}\n", f"{folder}/size": f"{size}\n"}
            files[f"{folder}/shared_cpu_list"] = f"{shared}\n"
    assert linux.last_level_cache_bytes(machine(files)) == 64 * 2**20


def test_cpu_lists_are_read_as_the_kernel_writes_them():
    assert linux.cpu_list("0-3,8,10-11") == {0, 1, 2, 3, 8, 10, 11}
    assert linux.cpu_list("") == set()


def test_accelerators_that_name_themselves(machine):
    root = machine({"sys/class/drm/card1/device/product_name": "AMD Instinct MI300X\n"})
    assert linux.gpus(root) == [{"name": "AMD Instinct MI300X"}]


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's own files")
def test_this_machine():
    import psutil

    total, stolen = linux.cpu_times()
    assert 0 <= stolen <= total
    assert linux.swap()[0] == pytest.approx(psutil.swap_memory().used, abs=2**20)
    assert linux.chip()
    assert linux.os_version()
