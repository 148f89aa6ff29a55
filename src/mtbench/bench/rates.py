"""Peak rates as data: FLOP/s of a matrix product, and bytes/s by working set. Read by worker and controller alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Roofs:
    """The rates that bound one call; None where one is not known."""

    flops_per_s: float | None = None
    bytes_per_s: float | None = None

    def raised(self, other: "Roofs") -> "Roofs":
        """The higher of both; what is not known is no bound."""
        return Roofs(
            max(self.flops_per_s or 0.0, other.flops_per_s or 0.0) or None,
            max(self.bytes_per_s or 0.0, other.bytes_per_s or 0.0) or None,
        )


@dataclass(frozen=True)
class Rates:
    """`bytes_per_s` maps a working set, in bytes, to the best rate at which one of that size was read or written.

    Raises ValueError where these are no rates.
    """

    flops_per_s: float | None = None
    bytes_per_s: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*self.bytes_per_s.values(), *([] if self.flops_per_s is None else [self.flops_per_s])]
        if not all(math.isfinite(rate) and rate > 0 for rate in known):
            raise ValueError(f"{self} are no rates")

    def merged(self, other: "Rates") -> "Rates":
        """The better of both, size by size."""
        flops = max((rate for rate in (self.flops_per_s, other.flops_per_s) if rate is not None), default=None)
        tables = (self.bytes_per_s, other.bytes_per_s)
        sizes = sorted({size for table in tables for size in table})
        return Rates(flops, {size: max(table[size] for table in tables if size in table) for size in sizes})

    def at(self, working_set: float | None) -> Roofs:
        """The two roofs for a call that moves so many bytes.

        The memory roof is the best rate of any working set of at least half that size: never below what was measured at
        the size itself, and without the small sizes' cost of calling, which a call of more work does not pay. Beyond the
        largest size that was measured, that one's rate holds.
        """
        table = self.bytes_per_s
        if not table or working_set is None:
            return Roofs(self.flops_per_s)
        least = min(working_set / 2, max(table))
        return Roofs(self.flops_per_s, max(rate for size, rate in table.items() if size >= least))


def limit_ns(flops: float, bytes_moved: float, flops_per_s: float | None, bytes_per_s: float | None) -> float | None:
    """The shortest time that the roofs allow for this work; None where there is none, or a roof for it is not known."""
    spans = []
    for work, rate in ((flops, flops_per_s), (bytes_moved, bytes_per_s)):
        if work > 0:
            if rate is None:
                return None
            spans.append(work / rate * 1e9)
    return max(spans, default=None)
