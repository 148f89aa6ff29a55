"""The reference BLAS, a slow matrix library, and what helps against it."""

import re

NAMES = re.compile(r"libblas|libcblas|netlib|reference", re.IGNORECASE)
"""The names that its files have on Linux: Debian's libblas.so.3, and those in MLX's wheel."""

OPENBLAS = "libopenblas.so.0"


def is_reference(blas: str | None) -> bool:
    """Whether a BLAS by this name, such as `libblas.so.3.10.0`, is the reference BLAS."""
    return blas is not None and NAMES.search(blas) is not None


def told(library: str, blas: str | None) -> str:
    """What a reader has to know of a library that has it."""
    return (
        f"On this CPU {library} multiplies matrices with the reference BLAS ({blas}), which is several times "
        "slower than others."
    )


def remedy(library: str) -> str:
    """What helps a library that has it. MLX has a setting for it; LD_PRELOAD would give OpenBLAS to all of a sweep."""
    setting = "framework.settings.blas" if library == "mlx" else "framework.env.LD_PRELOAD"
    return f"With OpenBLAS installed, add {setting}={OPENBLAS}."
