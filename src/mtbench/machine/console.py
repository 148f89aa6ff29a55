"""What `mtbench doctor` prints: the machine, what can run on it, and what would disturb a measurement."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtbench.machine.contenders import Contender
from mtbench.machine.finding import Finding
from mtbench.results.format import size

if TYPE_CHECKING:
    from rich.console import Group


def examination(
    findings: Sequence[Finding], contenders: Sequence[Contender] = (), description: Mapping[str, Any] | None = None
) -> "Group":
    """All of it for a terminal, as a Rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    labels = {"ok": ("ok", "green"), "note": ("note", "yellow"), "warning": ("warning", "bold red")}
    parts: list[Any] = []
    if description is not None:
        machine = Table(title="This machine", title_justify="left", box=None, show_header=False)
        for name, value in machine_rows(description):
            machine.add_row(Text(name, "dim"), Text(value))
        parts += [machine, ""]
    if contenders:
        able = Table(title="What can run here", title_justify="left", box=None, show_header=False)
        for contender in contenders:
            mark, style = ("yes", "green") if contender.works else ("no", "yellow")
            types = f" ({', '.join(contender.dtypes)})" if contender.dtypes else ""
            able.add_row(
                Text(mark, style),
                Text(contender.framework),
                Text(contender.device),
                Text(contender.detail + types),
            )
        parts += [able, ""]
    found = Table(title="What would disturb a measurement", title_justify="left", box=None, show_header=False)
    for finding in findings:
        said = Text(finding.what)
        if finding.remedy:
            said.append(f"\n{finding.remedy}", "dim")
        found.add_row(Text(*labels[finding.severity]), said)
    return Group(*parts, found)


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
