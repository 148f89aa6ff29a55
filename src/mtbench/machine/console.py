"""What `mtbench doctor` prints: the machine, what can run on it, and what would disturb a measurement."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtbench.machine.contenders import Contender
from mtbench.machine.finding import Finding
from mtbench.results.machines import machine_rows

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
