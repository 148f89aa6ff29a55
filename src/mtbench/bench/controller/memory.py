"""Whether a cell fits: what its arms are estimated to need, and what is free. An estimate, on the safe side."""

from dataclasses import dataclass

import psutil

from mtbench.operators.base import ITEM_BYTES, Operator, Shape
from mtbench.results.format import size

WORKING_COPIES = 2
"""Of inputs, weights and outputs on the device: a next output exists beside the last, and intermediates take room."""

HOST_COPIES = 3
"""In float64, while a job is built: as drawn, as rounded, and on the way to the device. One worker builds at a time."""


@dataclass(frozen=True)
class Needed:
    """Bytes: `device` of each arm for as long as it is measured, `host` while one arm is being built."""

    device: float
    host: float

    def compared_with(self, free: "Free") -> str:
        """Says what is needed and what there is."""
        return (
            f"estimated to need {size(self.device)} on the device and {size(self.host)} of memory while it is built; "
            f"{size(free.device)} and {size(free.host)} are free"
        )


@dataclass(frozen=True)
class Free:
    """Free bytes; where the device uses the system's memory, `device` is what is left beside the building."""

    device: float
    host: float


def needed_bytes(problem: Operator, shape: Shape, dtype: str) -> Needed:
    """The estimate for one arm, from the operator's own count of the bytes that it reads and writes once, or of those that
    it is given, which may be more: a cache, say, of which little is read."""
    held = problem.host_bytes(shape)
    return Needed(
        device=WORKING_COPIES
        * max(problem.bytes_moved(shape, dtype), held * ITEM_BYTES[dtype] / ITEM_BYTES["float64"]),
        host=HOST_COPIES * held,
    )


def free(device_bytes: int | None) -> Free:
    """What is free now; `device_bytes` where the device has memory of its own."""
    host = float(psutil.virtual_memory().available)
    return Free(host if device_bytes is None else float(device_bytes), host)
