"""Where things stand."""

import os
import sys
from pathlib import Path


def conf() -> Path:
    """The configuration folder: the one in the wheel, or the repository's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def cache() -> Path:
    """What may be deleted and is made anew: below $XDG_CACHE_HOME, else ~/Library/Caches on macOS and ~/.cache elsewhere."""
    usual = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or usual).absolute() / "mtbench"
