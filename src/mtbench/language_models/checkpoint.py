"""A language model's weights on disk, in the safetensors format: read tensor by tensor, and drawn where none are given.

The format: eight bytes with the length of a JSON header, which names each tensor's dtype, shape and bytes, then the bytes
(https://huggingface.co/docs/safetensors). bfloat16 is the upper half of a float32.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench import paths, plain
from mtbench.errors import ConfigError
from mtbench.reference import round_to

WEIGHTS_FILE = "model.safetensors"

ROWS_AT_ONCE = 16384
"""How many rows of a table are drawn or multiplied at a time: all rows of a vocabulary in float64 would be gigabytes."""

STEP = 2.0**-24
"""Drawn weights are rounded to multiples of this, float16's smallest number, and then to bfloat16. So float32, float16 and
bfloat16 all hold each weight exactly, and one file serves all three."""

Host = NDArray[Any]
Dimensions = tuple[int, ...]
Drawn = tuple[Dimensions, float, float]
"""Shape, mean and standard deviation of a random tensor."""

NUMPY_NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Held:
    """The weights of a library that rounded them in its own way. `read` works as a Checkpoint's, and dequantises. `output` is
    the name of the output projection where that is a tensor of its own, apart from the embeddings."""

    identity: str
    read: Callable[..., Any]
    output: str | None = None


class Checkpoint:
    """The tensors in a folder's safetensors files. Raises ConfigError where there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int, str, Dimensions]] = {}
        for file in sorted(folder.glob("model*.safetensors")):
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length))
            for name, entry in header.items():
                if name != "__metadata__":
                    offset = 8 + length + entry["data_offsets"][0]
                    self._places[name] = (file, offset, entry["dtype"], tuple(entry["shape"]))
        if not self._places:
            raise ConfigError(f"{folder} holds no model*.safetensors.")

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str, rows: Any = slice(None)) -> Host:
        """A tensor, or some of its rows, in float64."""
        file, offset, kind, shape = self._places[name]
        stored = np.memmap(file, dtype=NUMPY_NAMES[kind], mode="r", offset=offset, shape=shape)[rows]
        if kind == "BF16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(stored, dtype=np.float64)

    @property
    def identity(self) -> str:
        """A fingerprint that changes when the files change."""
        files = sorted({file for file, *_ in self._places.values()})
        facts = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return plain.fingerprint(facts)


def drawn(config: Mapping[str, Any], tensors: Mapping[str, Drawn], seed: int) -> Checkpoint:
    """Random weights for a configuration, by shape, mean and standard deviation, written into the cache folder once."""
    text = json.dumps(dict(config), sort_keys=True)
    name = plain.fingerprint_of_bytes(f"{text} {list(tensors.items())} {seed} {STEP}".encode(), 16)

    def write(folder: Path) -> None:
        (folder / "config.json").write_text(text)
        _write_drawn(folder / WEIGHTS_FILE, tensors, np.random.default_rng([seed, 2]))

    return Checkpoint(kept(f"models/{config['model_type']}-{name}", write))


def kept(place: str | Path, write: Callable[[Path], None]) -> Path:
    """A folder in the cache, written by whoever needs it first; a reader sees all of it or none."""
    folder = paths.cache() / place
    if not folder.exists():
        with paths.building(folder) as building:
            write(building)
            try:
                building.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was quicker
                    raise
    return folder


def _write_drawn(file: Path, tensors: Mapping[str, Drawn], rng: np.random.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, _, _) in tensors.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as opened:
        opened.write(len(head).to_bytes(8, "little") + head)
        for shape, mean, deviation in tensors.values():
            for start in range(0, shape[0], ROWS_AT_ONCE):
                part = (min(ROWS_AT_ONCE, shape[0] - start), *shape[1:])
                values = rng.standard_normal(part, dtype=np.float32) * np.float32(deviation) + np.float32(mean)
                rounded = round_to(np.rint(values / STEP) * STEP, "bfloat16")
                opened.write((rounded.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())
        opened.flush()
        os.fsync(opened.fileno())
