"""The self-test's table in a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mtbench.results.selftest import MET, MISSED, NOT_SHOWN, Outcome

STYLES = {MET: "green", MISSED: "bold red", NOT_SHOWN: "yellow"}


def table(outcome: Outcome) -> Group:
    """The rows, with what they were measured on above and a sum of them below."""
    rows = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("what", "goal", "measured", "verdict"):
        rows.add_column(name, overflow="fold")
    for row in outcome.rows:
        what = Text(row.what)
        if row.detail:
            what.append(f"\n{row.detail}", style="dim")
        rows.add_row(what, Text(row.goal), Text(row.measured), Text(row.verdict, style=STYLES.get(row.status, "")))
    quick = "; --quick, so with few trials" if outcome.quick else ""
    return Group(
        Text(f"\n{outcome.where}; {outcome.seconds:.0f} s{quick}"),
        Text(f"Goals are those for a {outcome.kind} machine: {outcome.why}.\n"),
        rows,
        Text(f"\n{outcome.summary}"),
    )
