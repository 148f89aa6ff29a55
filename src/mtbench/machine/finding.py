"""One thing that the doctor found, and how bad it is."""

from dataclasses import dataclass

SEVERITIES = ("ok", "note", "warning")


@dataclass(frozen=True)
class Finding:
    """ok: looked at, and well. note: worth knowing beside the numbers. warning: it makes numbers wrong or unsteady."""

    severity: str
    what: str
    remedy: str = ""
