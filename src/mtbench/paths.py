"""Where things stand."""

from pathlib import Path


def conf() -> Path:
    """The configuration folder: the one in the wheel, or the repository's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "conf"
