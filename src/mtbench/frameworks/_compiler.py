"""The C++ compiler that torch.compile and mx.compile build code for the CPU with: where it is, or why there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SHIMS = Path("/usr/bin")
"""On macOS the compilers in this folder always exist. Without the developer tools they fail, and open a window to install the
tools."""

HOW = "install one: xcode-select --install (macOS), apt-get install g++ (Debian, Ubuntu)"


def cxx_compiler(names: tuple[str, ...] = ("g++", "clang++")) -> str | None:
    """The compiler's path: CXX, or one of the usual ones; None where none would compile anything."""
    found = filter(None, map(shutil.which, (os.environ.get("CXX") or names[0], *names)))
    return next((path for path in found if not _is_empty_shim(path)), None)


def _is_empty_shim(path: str) -> bool:
    return is_macos() and Path(path).parent == SHIMS and not developer_tools()


def developer_tools() -> bool:
    """Whether macOS has its developer tools. Asking shows no window, as running a compiler would."""
    try:
        asked = ["/usr/bin/xcode-select", "-p"]
        return (
            subprocess.run(asked, capture_output=True, timeout=5, check=False, stdin=subprocess.DEVNULL).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def is_macos() -> bool:
    return sys.platform == "darwin"
