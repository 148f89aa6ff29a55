"""What `mtbench doctor --report` prints: machine, libraries and findings as Markdown, to be pasted into an issue.

Nothing in it names a person or a host, and no path leads into anybody's home: what others print is cleaned before.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mtbench.catalogue.capability import Capability
from mtbench.machine.finding import Finding
from mtbench.results.machines import machine_rows
from mtbench.results.private import Private
from mtbench.results.version import __version__

PACKAGES = (
    "torch", "mlx", "mlx-metal", "mlx-cpu", "jax", "jaxlib", "numpy", "transformers", "mlx-lm", "array-api-compat",
    "llama-cpp-python", "gguf", "zeus-apple-silicon", "nvidia-ml-py", "pyobjc-framework-Cocoa",
)  # fmt: skip
"""Whose versions decide what is measured."""


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
    """One line, with bars escaped for a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")
