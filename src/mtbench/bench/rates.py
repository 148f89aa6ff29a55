"""Peak rates as data: FLOP/s of a matrix product, and bytes/s by working set. Read by worker and controller alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mtbench.results.limits import higher


@dataclass(frozen=True)
class Roofs:
    """The rates that bound one call; None where one is not known. A roof that is not sure may be too low."""

    flops_per_s: float | None = None
    bytes_per_s: float | None = None
    flops_sure: bool = True
    bytes_sure: bool = True

    def raised(self, other: "Roofs") -> "Roofs":
        """The higher of both; what is not known is no bound."""
        flops, flops_sure = higher((self.flops_per_s, self.flops_sure), (other.flops_per_s, other.flops_sure))
        moved, moved_sure = higher((self.bytes_per_s, self.bytes_sure), (other.bytes_per_s, other.bytes_sure))
        return Roofs(flops, moved, flops_sure, moved_sure)


@dataclass(frozen=True)
class Rates:
    """`bytes_per_s` maps a working set, in bytes, to the best rate at which one of that size was read or written.

    `unsure_flops` and `unsure_sizes` say which of them may be far below what the machine can do. Raises ValueError where these
    are no rates.
    """

    flops_per_s: float | None = None
    bytes_per_s: Mapping[int, float] = field(default_factory=dict)
    unsure_flops: bool = False
    unsure_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        known = [*self.bytes_per_s.values(), *([] if self.flops_per_s is None else [self.flops_per_s])]
        if not all(math.isfinite(rate) and rate > 0 for rate in known):
            raise ValueError(f"{self} are no rates")

    def merged(self, other: "Rates") -> "Rates":
        """The better of both, size by size."""
        flops, flops_sure = higher(
            (self.flops_per_s, not self.unsure_flops), (other.flops_per_s, not other.unsure_flops)
        )
        sizes = sorted({*self.bytes_per_s, *other.bytes_per_s})
        found = {size: higher(self._of(size), other._of(size)) for size in sizes}
        table = {size: rate for size, (rate, _) in found.items() if rate is not None}
        return Rates(flops, table, not flops_sure, tuple(size for size, (_, sure) in found.items() if not sure))

    def doubted(self) -> "Rates":
        """The same, none of them sure: as measured on a machine that was busy."""
        return replace(self, unsure_flops=self.flops_per_s is not None, unsure_sizes=tuple(self.bytes_per_s))

    def sure(self) -> "Rates":
        """Only the rates that are sure."""
        table = {size: rate for size, rate in self.bytes_per_s.items() if size not in self.unsure_sizes}
        return Rates(None if self.unsure_flops else self.flops_per_s, table)

    def at(self, working_set: float | None, beyond: bool = False) -> Roofs:
        """The two roofs for a call that moves `working_set` bytes.

        The memory roof is the best rate of any working set of at least half that size. So it is never below what was measured
        at that size. Smaller sizes do not count: their rates include more of the overhead of a call. Beyond the largest size
        that was measured there is no memory roof. With `beyond`, which asks what is impossible, it is that of the largest size:
        no larger one is much faster.
        """
        roofs = Roofs(self.flops_per_s, flops_sure=not self.unsure_flops)
        table = self.bytes_per_s
        if not table or working_set is None or (working_set > max(table) and not beyond):
            return roofs
        working_set = min(working_set, max(table))
        best = max((size for size in table if size >= working_set / 2), key=table.__getitem__)
        return replace(roofs, bytes_per_s=table[best], bytes_sure=best not in self.unsure_sizes)

    def _of(self, size: int) -> tuple[float | None, bool]:
        return self.bytes_per_s.get(size), size not in self.unsure_sizes
