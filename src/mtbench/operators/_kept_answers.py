"""Answers of a library's form, which are the reference of an operator without a definition. A separate process computes them,
so that the library is not loaded into a worker, and the cache folder keeps them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench import paths, plain
from mtbench.errors import ConfigError

TIMEOUT_S = 600.0

INPUT, WEIGHT = "input ", "weight "
"""How the names of arrays begin."""

Array = NDArray[Any]


def answer(
    module: str, arguments: Sequence[str], source: bytes, weights: Mapping[str, Array], inputs: Sequence[Array]
) -> tuple[Array, ...]:
    """What `python -m module ARGUMENTS GIVEN FOUND` answers to these arrays; `source` is the code that the answer depends on:
    where it has changed, the answer is computed anew. Raises ConfigError where the process fails, with the last line that it
    printed."""
    arrays = {f"{INPUT}{number}": value for number, value in enumerate(inputs)}
    arrays |= {f"{WEIGHT}{name}": value for name, value in weights.items()}
    content = b"".join(np.ascontiguousarray(value).tobytes() for value in arrays.values())
    shapes = [[name, str(value.dtype), *value.shape] for name, value in arrays.items()]
    key = [module, *arguments, shapes, *map(plain.fingerprint_of_bytes, (content, source))]
    file = paths.cache() / "references" / f"own-{plain.fingerprint(key, 16)}.npz"
    if not file.is_file():
        _compute(module, arguments, arrays, file)
    with np.load(file) as kept:
        return tuple(kept[name] for name in sorted(kept.files, key=int))


def given(file: str) -> tuple[list[Array], dict[str, Array]]:
    """Called in the process that computes: the inputs, and the weights by name."""
    with np.load(file) as arrays:
        inputs = [arrays[name] for name in arrays if name.startswith(INPUT)]
        weights = {name.removeprefix(WEIGHT): arrays[name] for name in arrays if name.startswith(WEIGHT)}
    return inputs, weights


def found(file: str, leaves: Sequence[Array]) -> None:
    """Called in the process that computes: writes the answer."""
    np.savez(file, **{str(number): leaf for number, leaf in enumerate(leaves)})  # type: ignore[arg-type]


def _compute(module: str, arguments: Sequence[str], arrays: Mapping[str, Array], file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(asked, **dict(arrays))  # type: ignore[arg-type]
        command = [sys.executable, "-m", module, *arguments, str(asked), str(told)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise ConfigError(f"the reference of {arguments[0]} failed: {said}")
        paths.write_atomically(file, told.read_bytes())
