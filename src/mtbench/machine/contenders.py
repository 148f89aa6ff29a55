"""What can run here and why not: each framework on each device, in a line."""

from dataclasses import dataclass

from mtbench.catalogue.capability import Capability


@dataclass(frozen=True)
class Contender:
    """One framework on one device. `works`: whether it can be measured here; `detail`: what it is, or why not."""

    framework: str
    device: str
    works: bool
    detail: str
    dtypes: tuple[str, ...] = ()


def contender(found: Capability) -> Contender:
    """What a framework said of a device, in a line."""
    facts = found.description
    if facts is None:
        return Contender(found.library, found.device, False, str(found.unsupported))
    parts = (f"{facts.library} {facts.version}", facts.device_kind, facts.device_name, facts.blas)
    detail = ", ".join(dict.fromkeys(part for part in parts if part))
    return Contender(found.library, found.device, True, detail, found.able)
