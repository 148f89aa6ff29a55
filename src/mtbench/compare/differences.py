"""What else differs between two sides, so that a ratio is not credited to the intended difference alone."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtbench.compare.sides import Measured
from mtbench.results import format
from mtbench.results.record import Record

_LIBRARY = ("python_version", "threads", "blas", "device_kind", "device_name")
"""Columns that tell what ran, besides the library's version; of two different frameworks they are bound to differ."""

_UNTOLD = ("baseline", "peaks")
"""Protocol settings that change nothing in a measurement."""


@dataclass(frozen=True)
class Difference:
    """One fact that differs in `cells` of the `of` compared pairs for which both sides know it."""

    what: str
    a: str
    b: str
    cells: int
    of: int

    def __str__(self) -> str:
        share = "" if self.cells == self.of else f" ({self.cells} of {self.of})"
        return f"{self.what} {self.a} -> {self.b}{share}"


def differences(pairs: Sequence[tuple[Measured, Measured]]) -> list[Difference]:
    """Machine, power, library, protocol and tolerance where they differ between A and B, in that order."""
    known: Counter[str] = Counter()
    changed: Counter[tuple[str, str, str]] = Counter()
    for a, b in pairs:
        for what, before, after in _facts(a, b):
            known[what] += 1
            if before != after:
                changed[what, before, after] += 1
    order = list(known)
    found = [Difference(*change, cells, known[change[0]]) for change, cells in changed.items()]
    return sorted(found, key=lambda one: (order.index(one.what), one.a, one.b))


def _facts(one: Measured, other: Measured) -> Iterator[tuple[str, str, str]]:
    """The facts known of both records: name, value in A, value in B."""
    a, b = one.record, other.record
    yield "machine", _machine(a), _machine(b)
    if a.machine_id == b.machine_id:
        yield from _both("", json.loads(a.machine), json.loads(b.machine), without=("not_read", "power_source"))
    if one.power_sources and other.power_sources:
        yield "power source", one.power_sources, other.power_sources
    if a.framework == b.framework:
        yield from _both("", {a.framework: a.library_version}, {b.framework: b.library_version})
        ran, runs = ({name: getattr(record, name) for name in _LIBRARY} for record in (a, b))
        yield from _both(f"{a.framework}: ", ran, runs)
        if a.mode == b.mode:
            yield from _both(f"{a.framework}: ", json.loads(a.library_details), json.loads(b.library_details))
    yield from _both("", {"mtbench": a.mtbench_version}, {"mtbench": b.mtbench_version})
    yield from _both("protocol.", _protocol(a), _protocol(b), without=_UNTOLD)
    if (a.operator, a.dtype) == (b.operator, b.dtype):
        tolerance = f"tolerance of {a.operator} {a.dtype}"
        yield from _both("", {tolerance: a.verify_tolerance}, {tolerance: b.verify_tolerance})


def _both(
    prefix: str, a: Mapping[str, Any], b: Mapping[str, Any], without: Sequence[str] = ()
) -> Iterator[tuple[str, str, str]]:
    for name in a:
        if name not in without and None not in (a[name], b.get(name)):
            yield f"{prefix}{name}", format.value(a[name]), format.value(b[name])


def _protocol(record: Record) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(record.protocol)
    if not settings.get("cold_cache"):
        settings.pop("cold_cache_bytes", None)  # the machine's, and of no effect
    return settings


def _machine(record: Record) -> str:
    chip = json.loads(record.machine).get("chip")
    return f"{chip} ({record.machine_id})" if chip else record.machine_id
