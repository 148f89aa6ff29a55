"""What `mtbench doctor --report` prints: machine, libraries and findings as Markdown, to be pasted into an issue.

Nothing in it names a person or a host, and no path leads into anybody's home: what others print is cleaned before.
"""

import getpass
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mtbench import __version__
from mtbench.catalogue.capability import Capability
from mtbench.machine.console import machine_rows
from mtbench.machine.finding import Finding

PACKAGES = (
    "torch", "mlx", "mlx-metal", "mlx-cpu", "jax", "jaxlib", "numpy", "transformers", "mlx-lm", "array-api-compat",
    "zeus-apple-silicon", "nvidia-ml-py", "pyobjc-framework-Cocoa",
)  # fmt: skip
"""Whose versions decide what is measured."""

SHORTEST_NAME = 3
"""A shorter user or host name is part of too many words to be taken out, and says as little."""

NAMES_NOBODY = ("root", "localhost", "user", "runner", "admin")


@dataclass(frozen=True)
class Private:
    """What must not be in a report."""

    home: str
    names: tuple[str, ...]  # of the user and the host

    @classmethod
    def here(cls) -> "Private":
        node = platform.node()
        names = {node, node.partition(".")[0], Path.home().name, _user()}
        kept = {name for name in names if len(name) >= SHORTEST_NAME and name.lower() not in NAMES_NOBODY}
        return cls(str(Path.home()), tuple(sorted(kept, key=len, reverse=True)))

    def cleaned(self, text: str) -> str:
        """The text without paths below a home, names of the user or the host, and addresses of the network."""
        homes = rf"(?:{re.escape(self.home)}|/Users/[^/\s'\"]+|/home/[^/\s'\"]+|~)"
        text = re.sub(rf"(['\"]){homes}(?:/.*?)?\1", "'(a path)'", text)
        text = re.sub(rf"{homes}(?:/[^\s'\",;:)]*)+", "(a path)", text)
        text = re.sub(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b", "(an address)", text)
        for name in self.names:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "(a name)", text, flags=re.IGNORECASE)
        return text


def issue_report(
    description: Mapping[str, Any],
    findings: Sequence[Finding],
    capabilities: Iterable[Capability],
    private: Private | None = None,
) -> str:
    """Markdown of it all."""
    rows = machine_rows(description)
    lines = ["### mtbench doctor", "", f"mtbench {__version__}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows]
    lines += ["", "**Packages:** " + ", ".join(f"{name} {found}" for name, found in packages().items())]
    lines += ["", "| library | device | | dtypes |", "|---|---|---|---|"]
    lines += [_line(capability) for capability in capabilities]
    lines += ["", *(f"- {finding.severity}: {_cell(finding.what)}" for finding in findings)]
    return (private or Private.here()).cleaned("\n".join(lines)) + "\n"


def packages() -> dict[str, str]:
    """The versions of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _line(capability: Capability) -> str:
    facts = capability.description
    if facts is None:
        said = str(capability.unsupported)
    else:
        parts = (facts.version, facts.device_kind, facts.device_name, facts.blas)
        details = (f"{name} {value}" for name, value in sorted(facts.details.items()))
        said = ", ".join(dict.fromkeys(str(part) for part in (*parts, *details) if part))
    return f"| {capability.library} | {capability.device} | {_cell(said)} | {' '.join(capability.able) or '–'} |"


def _cell(text: str) -> str:
    """One line, whose bars do not end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return ""
