"""What `mtbench doctor` prints: the machine, what can run on it, and what would disturb a measurement."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtbench.machine.contenders import Contender
from mtbench.machine.finding import Finding
from mtbench.results.machines import machine_rows

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def examination(
    findings: Sequence[Finding], contenders: Sequence[Contender] = (), description: Mapping[str, Any] | None = None
) -> "Group":
    """All of it for a terminal, as a Rich renderable."""
    from rich.console import Group
    from rich.text import Text

    labels = {"ok": ("ok", "green"), "note": ("note", "yellow"), "warning": ("warning", "bold red")}
    parts: list[Any] = []
    if description is not None:
        machine = _table("This machine", 2)
        for name, value in machine_rows(description):
            machine.add_row(Text(name, "dim"), Text(value))
        parts += [machine, ""]
    if contenders:
        able = _table("What can run here", 4)
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
    found = _table("What would disturb a measurement", 2)
    for finding in findings:
        said = Text(finding.what)
        if finding.remedy:
            said.append(f"\n{finding.remedy}", "dim")
        found.add_row(Text(*labels[finding.severity]), said)
    return Group(*parts, found)


def _table(title: str, columns: int) -> "Table":
    """A table in whose last column a word that is wider than it, such as an address, goes on below: nothing is cut."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=None, show_header=False)
    for _ in range(columns - 1):
        made.add_column()
    made.add_column(overflow="fold")
    return made
