"""Whether a cell fits: what its arms are estimated to need, and what is free. An estimate, on the safe side."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.bench.reference_rows import reference_rows
from mtbench.machine.memory import available_bytes
from mtbench.operators.base import ITEM_BYTES, Operator, Shape
from mtbench.reference import LARGE_BYTES
from mtbench.results.format import size

WORKING_COPIES = 2
"""Copies of inputs and outputs on the device: the next output exists beside the last, and intermediates take room. Weights are
there once."""

HOST_COPIES = 3
"""Copies in float64 in host memory while a job is built: as drawn, as rounded, and on the way to the device. One worker builds
at a time."""

LARGE_VALUE_BYTES = 8
"""Bytes for each value of an array that is too large for float64 (mtbench.reference), besides the value itself: an input on its
way to the device, or an output in float32 and what it is compared with."""

REFERENCE_COPIES = 1.5
"""Copies in float64 of what is checked, large or not: inputs, outputs, and what a definition needs between them."""

SMALL_ARRAYS = 16
"""Besides large arrays there may be this many that are only just not large, copies included."""


@dataclass(frozen=True)
class Needed:
    """Bytes: `device` of each arm for as long as it is measured, `host` while one arm is being built."""

    device: float
    host: float

    def compared_with(self, free: "Free") -> str:
        """Says what is needed and what there is."""
        needs = f"estimated to need {size(self.device)} on the device and {size(self.host)} of memory while it is built"
        if not free.shared:
            return f"{needs}; {size(free.device)} and {size(free.host)} are free"
        limit = (
            "" if free.device >= free.host else f", of which the device should take no more than {size(free.device)}"
        )
        return f"{needs}; {size(free.host)} are free for both{limit}"


@dataclass(frozen=True)
class Free:
    """Free bytes. Where the device has no memory of its own, both are one pot (`shared`), and `device` is what the system
    recommends to take from it at most."""

    device: float
    host: float
    shared: bool = False


NOTHING = Needed(0.0, 0.0)


def needed_bytes(problem: Operator, shape: Shape, dtype: str) -> Needed:
    """The estimate for one arm, from the operator's own count of the bytes that it reads and writes, or of those that
    it is given, which may be more: a cache, say, of which little is read."""
    held, weights = problem.host_bytes(shape), problem.weight_bytes(dtype)
    touched = max(problem.touched_bytes(shape, dtype), held * ITEM_BYTES[dtype] / ITEM_BYTES["float64"])
    rows = Shape(reference_rows(problem, shape), shape.seq_len, shape.kv_len)
    return Needed(
        device=weights + WORKING_COPIES * max(touched - weights, 0.0),
        host=_host_bytes(held, rows.batch_size / shape.batch_size, ITEM_BYTES[dtype]) + problem.reference_bytes(rows),
    )


def _host_bytes(held: float, checked: float, item_bytes: int) -> float:
    """Host memory for inputs, weights and outputs that take `held` bytes in float64, and for the part that is checked."""
    values = held / ITEM_BYTES["float64"]
    on_the_way = values * (item_bytes + LARGE_VALUE_BYTES)
    referred = values * item_bytes + REFERENCE_COPIES * checked * held
    return min(max(on_the_way, referred) + SMALL_ARRAYS * LARGE_BYTES, HOST_COPIES * held)


def fits(needs: Sequence[Needed], free: Free, fraction: float) -> bool:
    """Whether arms fit together, while one of them is built, into a fraction of what is free."""
    device, host = sum(needed.device for needed in needs), max((needed.host for needed in needs), default=0.0)
    if free.shared:
        return device + host <= fraction * free.host and device <= free.device
    return device <= fraction * free.device and host <= fraction * free.host


def free(device_bytes: int | None, working_set_bytes: int | None = None) -> Free:
    """What is free now; `device_bytes` where the device has memory of its own, `working_set_bytes` where the system says how
    much of its own the device should use at most."""
    host = float(available_bytes())
    if device_bytes is not None:
        return Free(float(device_bytes), host)
    return Free(host if working_set_bytes is None else min(host, float(working_set_bytes)), host, shared=True)
