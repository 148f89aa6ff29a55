"""What can run here and why not: each framework on each device, in a line."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtbench.catalogue import capability, registry
from mtbench.catalogue.capability import Capability


@dataclass(frozen=True)
class Contender:
    """One framework on one device. `works`: whether it can be measured here; `detail`: what it is, or why not."""

    framework: str
    device: str
    works: bool
    detail: str
    dtypes: tuple[str, ...] = ()


def contenders(
    names: Sequence[str] | None = None,
    devices: Sequence[str] = capability.DEVICES,
    timeout_s: float = capability.TIMEOUT_S,
) -> list[Contender]:
    """What each framework says of each device, each asked in a process of its own; takes as long as their imports."""
    asked = registry.names("framework") if names is None else names
    return [_contender(found) for found in capability.ask(asked, devices, timeout_s=timeout_s)]


def _contender(found: Capability) -> Contender:
    facts = found.description
    if facts is None:
        return Contender(found.library, found.device, False, str(found.unsupported))
    parts = (f"{facts.library} {facts.version}", facts.device_kind, facts.device_name, facts.blas)
    detail = ", ".join(dict.fromkeys(part for part in parts if part))
    return Contender(found.library, found.device, True, detail, found.able)
