"""What is available: macOS's pages that it would not have to compress, and what Linux's control groups leave."""

import sys
from types import SimpleNamespace

import psutil
import pytest

from mtbench.machine import memory

GIB = 1 << 30

# An 8 GB MacBook Air in use, pages of 16 KiB: psutil's "available" is free + inactive.
VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               20000.
Pages active:                            150000.
Pages inactive:                          140000.
Pages speculative:                         2000.
Pages throttled:                              0.
Pages wired down:                         90000.
Pages purgeable:                           5000.
"Translation faults":                 196312538.
Pages copy-on-write:                   21028741.
File-backed pages:                       110000.
Anonymous pages:                         182000.
Pages stored in compressor:              250000.
Pages occupied by compressor:             80000.
"""


def test_macos_counts_what_it_would_not_have_to_compress():
    assert memory.parse_vm_stat(VM_STAT) == (20000 + 5000 + 110000) * 16384
    assert memory.parse_vm_stat(VM_STAT.replace("File-backed", "Other")) is None
    assert memory.parse_vm_stat("") is None


def test_a_mac_is_asked_by_vm_stat_and_psutil_serves_where_that_fails(monkeypatch):
    asked = []
    monkeypatch.setattr(memory.macos, "output", lambda *command: (asked.append(command), VM_STAT)[1])
    assert memory.available_bytes(system="darwin") == 135000 * 16384
    assert asked == [("/usr/bin/vm_stat",)]

    def broken(*_):
        raise TimeoutError

    monkeypatch.setattr(memory.macos, "output", broken)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_200_000_000))
    assert memory.available_bytes(system="darwin") == 2_200_000_000


@pytest.fixture
def root(tmp_path):
    def write(files: dict[str, str]) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    write({"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {22 * GIB // 1024} kB\n"})
    return SimpleNamespace(path=tmp_path, write=write)


def available(root) -> int:
    return memory.available_bytes(root.path, "linux")


def test_without_limits_all_of_it_is_available(root):
    assert available(root) == 22 * GIB
    root.write({"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"})
    root.write({"sys/fs/cgroup/user.slice/memory.current": "1\n"})
    assert available(root) == 22 * GIB


def test_the_tightest_limit_of_all_groups_around_counts_and_caches_are_given_up(root):
    root.write(
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/outer/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/outer/memory.stat": f"anon 1\ninactive_file {GIB // 4}\nactive_file {GIB // 4}\nfile {GIB}\n",
            "sys/fs/cgroup/outer/inner/memory.max": "max\n",
            "sys/fs/cgroup/outer/inner/memory.high": f"{4 * GIB}\n",
            "sys/fs/cgroup/outer/inner/memory.current": f"{GIB}\n",
        }
    )
    assert available(root) == 2 * GIB - GIB // 2
    root.write({"sys/fs/cgroup/outer/inner/memory.high": f"{GIB + 5}\n"})
    assert available(root) == 5


def test_a_container_sees_its_own_group_at_the_root(root):
    root.write(
        {
            "proc/self/cgroup": "0::/docker/0123\n",
            "sys/fs/cgroup/memory.max": f"{3 * GIB // 2}\n",
            "sys/fs/cgroup/memory.current": "0\n",
        }
    )
    assert available(root) == 3 * GIB // 2


def test_the_first_version_of_control_groups(root):
    root.write(
        {
            "proc/self/cgroup": "5:cpu:/\n4:hugetlb,memory:/job\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GIB // 2}\n",
        }
    )
    assert available(root) == GIB // 2


def test_a_group_that_is_full_leaves_nothing(root):
    root.write({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "100\n"})
    root.write({"sys/fs/cgroup/memory.current": "200\n"})
    assert available(root) == 0


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="asks these systems")
def test_this_machine():
    assert 0 < memory.available_bytes() <= psutil.virtual_memory().total
