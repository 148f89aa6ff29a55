"""The machine's description: complete, quick, silent about its owner, and an identity that outlives updates."""

import copy
import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mtbench.machine import describe, description, identity


@pytest.fixture
def fresh():
    """Reads the machine anew, before and after."""
    description._lasting.cache_clear()
    yield
    description._lasting.cache_clear()


def test_it_says_what_this_machine_is():
    import psutil

    facts = describe()
    assert facts["chip"]
    assert facts["cores"]["logical"] == psutil.cpu_count()
    assert 1 <= facts["usable_cores"] <= facts["cores"]["logical"]
    assert facts["memory_bytes"] == psutil.virtual_memory().total
    assert facts["os"] in ("Linux", "macOS")
    assert facts["power_source"] in ("mains", "battery")
    assert facts["virtualised"] in (True, False)
    assert facts["not_read"] == []
    assert json.loads(json.dumps(facts)) == facts


def test_it_names_neither_person_nor_host():
    written = json.dumps(describe())
    assert socket.gethostname() not in written.split('"')
    assert getpass.getuser() not in written.split('"')
    assert str(Path.home()) not in written
    assert not {"serial", "uuid", "host", "hostname", "user"} & set(describe())


def test_a_probe_that_fails_costs_only_its_own_fact(monkeypatch, fresh):
    def broken() -> str:
        raise RuntimeError("/home/someone/secret")

    monkeypatch.setattr(description.platform, "release", broken)
    facts = describe()
    assert facts["kernel"] is None
    assert facts["not_read"] == ["kernel: RuntimeError"]
    assert facts["chip"]


def test_the_power_source_is_read_anew_each_time(monkeypatch):
    import psutil

    class Battery:
        power_plugged = False

    monkeypatch.setattr(psutil, "sensors_battery", Battery, raising=False)
    assert describe()["power_source"] == "battery"
    Battery.power_plugged = True
    assert describe()["power_source"] == "mains"


def test_the_identity_outlives_updates_and_reboots():
    before = describe()
    after = copy.deepcopy(before) | {
        "kernel": "99.0",
        "os_version": "the next one",
        "python": "CPython 9",
        "power_source": "battery",
        "usable_cores": 1,
    }
    assert identity(before) == identity(after)
    assert len(identity(before)) == 10


@pytest.mark.parametrize(
    "change",
    [
        {"chip": "another"},
        {"memory_bytes": 2**40},
        {"cores": {"physical": 99}},
        {"os": "another"},
        {"gpus": [{"name": "another"}]},
    ],
)
def test_other_hardware_has_another_identity(change):
    assert identity(describe() | change) != identity(describe())


def test_a_kernel_that_keeps_a_little_more_memory_is_the_same_machine():
    def of(memory: int) -> str:
        return identity(describe() | {"memory_bytes": memory})

    assert of(25_276_514_304) == of(25_276_514_304 - 9 * 2**20)


def test_it_imports_no_framework():
    code = "import sys; from mtbench.machine import describe; describe(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "mlx", "numpy", "scipy", "polars"} & set(loaded)
