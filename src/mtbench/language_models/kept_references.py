"""Results computed from a model's weights and some inputs, kept on disk, since several arms and restarts need the same."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.language_models.checkpoint import Held, kept
from mtbench.language_models.config import LanguageModel
from mtbench.language_models.definition import Read

FILE = "logits.npy"

Host = NDArray[Any]


def of(
    stored: Any,
    held: Held | None,
    model: LanguageModel,
    inputs: Sequence[Host],
    compute: Callable[[Read, str | None], Host],
) -> Host:
    """The result of `compute` for these weights and inputs, or the one kept from before. The weights are the stored ones, or
    those that a library rounded them to (`held`)."""
    identity = stored.identity if held is None else f"{stored.identity} {held.identity}"
    digest = hashlib.sha256(f"{identity} {model}".encode())
    for each in inputs:
        digest.update(np.ascontiguousarray(each).tobytes() + str(each.shape).encode())

    def write(folder: Path) -> None:
        read, output = (stored.read, None) if held is None else (held.read, held.output)
        np.save(folder / FILE, compute(read, output))

    return np.asarray(np.load(kept(f"references/{digest.hexdigest()[:32]}", write) / FILE))
