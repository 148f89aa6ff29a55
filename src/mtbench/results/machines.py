"""A machine as a record describes it, in words."""

from collections.abc import Mapping
from typing import Any

from mtbench.results.format import size


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
