"""A pretended Mac: `mac.run(...)` runs mtbench, or `mac.python(...)` a program, where everything says that this is macOS."""

import os
import plistlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PRETENDED = Path(__file__).parent / "pretended"

SYSCTL = """\
machdep.cpu.brand_string: Apple M5
hw.model: Mac17,2
hw.nperflevels: 2
hw.l2cachesize: 4194304
kern.hv_vmm_present: 0
kern.osproductversion: 26.2
sysctl.proc_translated: 0
hw.perflevel0.name: Performance
hw.perflevel0.physicalcpu: 4
hw.perflevel0.l2cachesize: 16777216
hw.perflevel0.cpusperl2: 4
hw.perflevel1.name: Efficiency
hw.perflevel1.physicalcpu: 6
hw.perflevel1.l2cachesize: 6291456
hw.perflevel1.cpusperl2: 6
"""

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                              100000.
Pages active:                            150000.
Pages inactive:                          140000.
Pages purgeable:                          10000.
File-backed pages:                       150000.
"""


@dataclass(frozen=True)
class Mac:
    """`state` holds what its tools print, one file each; `folder` is where its programs run."""

    state: Path
    folder: Path

    def set(self, **files: str) -> None:
        for name, content in files.items():
            (self.state / name).write_text(content)

    def accelerator(self, load: int) -> None:
        entry = {
            "IOObjectClass": "AGXAcceleratorG17G", "model": "Apple M5", "gpu-core-count": 10,
            "PerformanceStatistics": {"Device Utilization %": load},
        }  # fmt: skip
        (self.state / "accelerator.plist").write_bytes(plistlib.dumps([entry]))

    @property
    def environment(self) -> dict[str, str]:
        # Polars would look for the features of an Arm processor.
        ours = {
            "POLARS_SKIP_CPU_CHECK": "1",
            "PYTHONPATH": str(PRETENDED),
            "PRETENDED": str(self.state),
            "HOME": str(self.folder),
        }
        return {**{name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}, **ours}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._finish("-m", "mtbench", *arguments)

    def python(self, program: str) -> str:
        finished = self._finish("-c", program)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mtbench", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def asked(self) -> list[str]:
        return (self.state / "asked").read_text().splitlines()

    def _finish(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    made = Mac(tmp_path / "state", tmp_path / "home")
    made.state.mkdir()
    made.folder.mkdir()
    made.set(
        sysctl=SYSCTL, vm_stat=VM_STAT, memory_pressure="1\n", thermal="0\n", pmset=" powermode 0\n", asked="",
        **{"xcode-select": "0\n"},
    )  # fmt: skip
    made.accelerator(load=3)
    return made
