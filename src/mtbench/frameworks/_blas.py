"""Which file the matrix products of a library on the CPU come from."""

import ctypes
import re
import sys
from pathlib import Path


class _Symbol(ctypes.Structure):
    """What dladdr(3) fills in."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def load_first(library: str) -> None:
    """Loads a shared library so that those loaded later take their functions from it. Raises OSError."""
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)


def resolved(function: str, library: str) -> Path | None:
    """The file from which `library`, a shared library that is loaded, gets a function by this name; None if it has none.

    The linker looks first in what the program and LD_PRELOAD brought and in what was loaded for all, and only then in the
    library and what it depends on (ld.so(8), dlopen(3)). Not so on macOS, where a library names the file of each function.
    """
    for scope in (ctypes.CDLL(None), ctypes.CDLL(library)):
        try:
            found = getattr(scope, function)
        except AttributeError:
            continue
        symbol = _Symbol()
        if ctypes.CDLL(None).dladdr(ctypes.cast(found, ctypes.c_void_p), ctypes.byref(symbol)) and symbol.file:
            return Path(symbol.file.decode()).resolve()
    return None


def said_or_found(said: str | None, function: str, library: str) -> str | None:
    """What a library says of its BLAS, or the file that takes its calls if that lies elsewhere than the library
    (LD_PRELOAD)."""
    file = resolved(function, library) if sys.platform == "linux" else None
    return said if file is None or file.is_relative_to(Path(library).resolve().parent) else shown(file)


def shown(file: Path) -> str:
    """A file's name without the checksum that wheels put into the names of libraries that they contain."""
    return re.sub(r"-[0-9a-f]{8}", "", file.name)
