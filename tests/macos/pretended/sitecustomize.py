"""Pretends macOS in every process that finds this file: on PYTHONPATH, Python loads it at each start.

No Mac need be at hand. What differs is what mtbench asks of a system: its name, the absence of /proc, /sys and os.sched_*,
Apple's tools (scripts in `bin/`, which print files of $PRETENDED) and notify(3). Libraries stay those of Linux, so psutil is
loaded before, and torch, which looks for .dylib files, cannot be.
"""

import ctypes
import os
import pathlib
import platform
import subprocess
import sys
import sysconfig
import time
from types import SimpleNamespace
from typing import Any

import psutil  # noqa: F401  (as what it is, before the system has another name)

HERE = pathlib.Path(__file__).parent
STATE = pathlib.Path(os.environ["PRETENDED"])
TOOLS = {
    f"{folder}/{name}": str(HERE / "bin" / name)
    for folder, names in {
        "/usr/bin": ("pmset", "vm_stat", "xcode-select", "caffeinate"),
        "/usr/sbin": ("sysctl", "ioreg"),
    }.items()
    for name in names
}
HIDDEN = ("/proc", "/sys")


def pretend_tools() -> None:
    start = subprocess.Popen.__init__

    def redirected(self: Any, args: Any, *others: Any, **named: Any) -> None:
        if isinstance(args, (list, tuple)) and args[0] in TOOLS:
            args = [TOOLS[args[0]], *args[1:]]
        start(self, args, *others, **named)

    subprocess.Popen.__init__ = redirected  # type: ignore[method-assign]


def hide_linux() -> None:
    for name in [name for name in dir(os) if name.startswith("sched_")]:
        delattr(os, name)
    if hasattr(os, "process_cpu_count"):
        os.process_cpu_count = os.cpu_count
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"):
        if hasattr(time, name):
            delattr(time, name)

    def hidden(path: pathlib.Path) -> bool:
        return str(path).startswith(HIDDEN)

    def missing(method: str, answer: Any) -> None:
        original = getattr(pathlib.Path, method)

        def pretended(self: pathlib.Path, *args: Any, **named: Any) -> Any:
            if not hidden(self):
                return original(self, *args, **named)
            if answer is FileNotFoundError:
                raise FileNotFoundError(2, "No such file or directory", str(self))
            return answer

        setattr(pathlib.Path, method, pretended)

    for method in ("read_text", "read_bytes", "write_text", "open"):
        missing(method, FileNotFoundError)
    for method in ("exists", "is_dir", "is_file"):
        missing(method, False)
    missing("glob", ())


class System:
    """The C library with what macOS has in it: the kernel's thermal pressure, and qualities of service."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def notify_register_check(self, name: bytes, token: Any) -> int:
        return 0 if name == b"com.apple.system.thermalpressurelevel" else 1

    def notify_get_state(self, token: Any, state: Any) -> int:
        state._obj.value = int((STATE / "thermal").read_text())
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def pretend_c_library() -> None:
    load = ctypes.CDLL

    def loaded(name: Any = None, *args: Any, **named: Any) -> Any:
        library = load(name, *args, **named)
        return System(library) if name is None else library

    ctypes.CDLL = loaded  # type: ignore[misc,assignment]


sysconfig.get_config_vars()  # read once, from a file that is named for the system
pretend_tools()
hide_linux()
pretend_c_library()
sys.platform = "darwin"
# macOS's own module for proxies, which urllib loads there.
sys.modules["_scproxy"] = SimpleNamespace(_get_proxy_settings=dict, _get_proxies=dict)  # type: ignore[assignment]
platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
platform.release = lambda: "25.2.0"
# What a Python that was built with an older SDK is told on macOS 26.
platform.mac_ver = lambda *_: ("16.0", ("", "", ""), "arm64")  # type: ignore[assignment]
