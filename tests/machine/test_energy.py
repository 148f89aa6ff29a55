"""Counters of energy: their units, their wrapping, what they cover, and a reason where there is none."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from mtbench.machine import energy, nvidia

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux's counters")


@pytest.fixture
def powercap(tmp_path):
    """A two-socket server: each package with its cores and memory, a platform domain, and a duplicate by MMIO."""
    folder = tmp_path / "sys/class/powercap"
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for number, (domain, name) in enumerate(names.items()):
        (folder / domain).mkdir(parents=True)
        (folder / domain / "name").write_text(f"{name}\n")
        (folder / domain / "max_energy_range_uj").write_text("262143328850\n")
        (folder / domain / "energy_uj").write_text(f"{1_000_000 * (number + 1)}\n")
    return tmp_path


def advance(root, **microjoules):
    for domain, more in microjoules.items():
        file = (
            root
            / "sys/class/powercap"
            / f"intel-{domain.replace('_', ':').replace('rapl:mmio', 'rapl-mmio')}/energy_uj"
        )
        file.write_text(f"{(int(file.read_text()) + more) % 262143328851}\n")


@linux_only
def test_packages_and_memory_count_once(powercap):
    counter = energy.reader("cpu", root=powercap)
    before = counter.read_joule()
    advance(powercap, rapl_0=5_000_000, rapl_0_0=3_000_000, rapl_0_1=1_000_000, rapl_1=2_000_000, rapl_2=9_000_000)
    advance(powercap, rapl_mmio_0=5_000_000)  # the first package again, by another way
    assert counter.read_joule() - before == pytest.approx(8.0)
    assert "processor" in counter.covers


@linux_only
def test_a_counter_that_wraps_does_not_run_backwards(powercap):
    counter = energy.reader("cpu", root=powercap)
    advance(powercap, rapl_0=262143328850 - 1_500_000)
    before = counter.read_joule()
    advance(powercap, rapl_0=4_000_000)
    assert counter.read_joule() - before == pytest.approx(4.0)


@linux_only
def test_a_counter_for_root_only_says_how_to_open_it(powercap, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(energy.RaplEnergy, "_read", refuse)
    reason = energy.reader("cpu", root=powercap)
    assert "root only" in reason
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in reason


@linux_only
def test_a_machine_without_counters_says_so(tmp_path):
    assert "no energy counter" in energy.reader("cpu", root=tmp_path)
    assert "no NVIDIA GPU" in energy.reader("gpu", root=tmp_path)


class FakeGpu(nvidia.Gpu):
    def __init__(self, *joules):
        self.joules = list(joules)
        self.closed = False

    def energy_joule(self):
        return self.joules.pop(0)

    def close(self):
        self.closed = True


@linux_only
def test_a_gpus_counter(monkeypatch):
    gpu = FakeGpu(2068.491, 2068.491, 3512.928)
    monkeypatch.setattr(nvidia, "open_gpu", lambda **_: gpu)
    counter = energy.reader("gpu")
    assert counter.covers == "GPU board"
    assert -counter.read_joule() + counter.read_joule() == pytest.approx(1444.437)
    counter.close()
    assert gpu.closed


@linux_only
def test_a_gpu_without_a_counter_is_given_back(monkeypatch):
    gpu = FakeGpu(None)
    monkeypatch.setattr(nvidia, "open_gpu", lambda **_: gpu)
    assert "no energy counter" in energy.reader("gpu")
    assert gpu.closed


@linux_only
def test_a_gpu_that_cannot_be_read_says_why(monkeypatch):
    monkeypatch.setattr(nvidia, "open_gpu", lambda **_: "NVML does not start")
    assert energy.reader("gpu") == "NVML does not start"


def test_a_gpu_that_is_gone_is_an_error():
    with pytest.raises(OSError, match="no longer"):
        energy.NvidiaEnergy(FakeGpu(None)).read_joule()


class Monitor:
    """Stands in for zeus_apple_silicon.AppleEnergyMonitor, with the fields that its README documents."""

    readings = ()

    def __init__(self):
        self.left = iter(self.readings)

    def get_cumulative_energy(self):
        nothing = dict.fromkeys(("cpu_total_mj", "efficiency_cores_mj", "performance_cores_mj", "dram_mj", "gpu_mj"))
        nothing |= dict.fromkeys(("efficiency_core_manager_mj", "performance_core_manager_mj", "gpu_sram_mj", "ane_mj"))
        return SimpleNamespace(**nothing | next(self.left))


@pytest.fixture
def apple(monkeypatch):
    def readings(*values, chip="Apple M4"):
        zeus = ModuleType("zeus_apple_silicon")
        zeus.AppleEnergyMonitor = type("AppleEnergyMonitor", (Monitor,), {"readings": values})
        monkeypatch.setitem(sys.modules, "zeus_apple_silicon", zeus)
        monkeypatch.setattr(energy.sys, "platform", "darwin")
        monkeypatch.setattr(energy.macos, "chip", lambda: chip)
        return energy.reader("gpu")

    return readings


def test_apples_chip_counts_as_a_whole_and_its_cores_once(apple):
    first = {"cpu_total_mj": 1000, "performance_cores_mj": [600, 300], "gpu_mj": 500, "dram_mj": 100}
    later = {"cpu_total_mj": 3000, "performance_cores_mj": [1600, 1300], "gpu_mj": 4500, "dram_mj": 600}
    counter = apple(first, first, later)
    assert -counter.read_joule() + counter.read_joule() == pytest.approx((2000 + 4000 + 500) / 1000)
    assert "chip" in counter.covers


def test_apples_counters_that_stand_still_are_named(apple):
    first = {"cpu_total_mj": 1000, "gpu_mj": 500, "dram_mj": 100}
    assert apple(first, first | {"gpu_mj": 900}).standing() == ["cpu_total_mj", "dram_mj"]
    assert apple(first, first | {"cpu_total_mj": 1001, "dram_mj": 101}).standing() == []


def test_a_mac_without_counters_says_so(apple):
    assert "virtual machine" in apple({})


def test_an_ultra_is_refused_since_half_of_it_would_be_counted(apple):
    assert "Ultra" in apple({"cpu_total_mj": 1000}, chip="Apple M2 Ultra")


def test_whatever_the_library_throws_is_a_reason(monkeypatch):
    def monitor():
        raise ValueError("unknown energy unit")

    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", SimpleNamespace(AppleEnergyMonitor=monitor))
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    monkeypatch.setattr(energy.macos, "chip", lambda: "Apple M9")
    assert "unknown energy unit" in energy.reader("cpu")


def test_a_counter_that_fails_later_is_an_oserror(apple):
    counter = apple({"cpu_total_mj": 1000})
    with pytest.raises(OSError, match="no longer"):
        counter.read_joule()


@pytest.mark.parametrize(
    ("python", "says"),
    [((3, 13, 9), "pip install zeus-apple-silicon"), ((3, 14, 6), "no wheel for Python 3.14 yet; use Python 3.13")],
)
def test_a_missing_library_is_named_with_its_cure(monkeypatch, python, says):
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    monkeypatch.setattr(energy.sys, "version_info", python)
    assert says in energy.reader("cpu")
