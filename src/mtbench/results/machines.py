"""A machine as a record describes it, in words."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from mtbench.results.format import size


@lru_cache(maxsize=1024)
def machine_name(machine: str | None, machine_id: str | None) -> str:
    """A machine in words: its chip, with its GPUs if they are not part of it; failing that the beginning of its identity.
    `machine` is its description as JSON."""
    description = json.loads(machine or "{}")
    chip = description.get("chip")
    if not chip:
        return f"machine {(machine_id or 'unknown')[:6]}"
    gpus = own_gpus(description)
    several = f"{len(gpus)} x " if len(gpus) > 1 and len(set(gpus)) == 1 else ""
    return f"{chip} with {several}{' and '.join(dict.fromkeys(gpus))}" if gpus else str(chip)


def machine_names(
    machines: Iterable[tuple[str | None, str | None, str | None]],
) -> dict[tuple[str | None, str | None], str]:
    """The name of each machine by its description and identity; the third is the source of figures that others published.
    Where several that were measured have the same chip and GPUs, the identity's beginning tells them apart."""
    found = dict.fromkeys(machines)
    alike: dict[str, set[str]] = {}
    for machine, identity, source in found:
        if identity and source is None:
            alike.setdefault(machine_name(machine, identity), set()).add(identity)
    names = {}
    for machine, identity, _ in found:
        name = machine_name(machine, identity)
        twins = alike.get(name, set())
        names[machine, identity] = f"{name} ({identity[:6]})" if identity in twins and len(twins) > 1 else name
    return names


def own_gpus(description: Mapping[str, Any]) -> list[str]:
    """The names of the GPUs that are not part of the chip: of Apple's M4 there are none."""
    chip = str(description.get("chip"))
    return [name for gpu in description.get("gpus") or [] if chip not in (name := str(gpu.get("name")))]


def machine_rows(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The machine in words: name and value, for a table; what is unknown is left out."""
    cores = description.get("cores") or {}
    memory, cache = description.get("memory_bytes"), description.get("last_level_cache_bytes")
    gpus = [
        ", ".join(str(part) for part in (gpu["name"], gpu.get("cores") and f"{gpu['cores']} cores") if part)
        for gpu in description.get("gpus") or []
    ]
    rows = [
        ("chip", " ".join(filter(None, (description.get("chip"), _bracket(description.get("model")))))),
        ("cores", ", ".join(f"{count} {kind}" for kind, count in cores.items() if count)),
        ("memory", size(memory) if memory else ""),
        ("last-level cache", size(cache) if cache else ""),
        ("GPU", "; ".join(gpus)),
        ("system", " ".join(filter(None, (description.get("os"), description.get("os_version"))))),
        ("kernel", description.get("kernel") or ""),
        ("Python", description.get("python") or ""),
        ("virtual machine", "yes" if description.get("virtualised") else ""),
        ("power", description.get("power_source") or ""),
    ]
    return [(name, value) for name, value in rows if value]


def _bracket(word: str | None) -> str:
    return f"({word})" if word else ""
