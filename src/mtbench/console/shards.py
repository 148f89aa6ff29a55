"""How the shards of a sweep are doing, in a terminal."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mtbench.console.styles import FAILURE
from mtbench.plan.progress import Standing
from mtbench.results.format import one_line

STYLES = {"done": "green", "running": "bold", "waiting": "dim"}


def overview(standings: Sequence[Standing]) -> RenderableType:
    """A line for each shard: its number, status, how many visits to a cell are done, and where."""
    table = Table.grid(padding=(0, 2))
    for justify in ("right", "left", "right", "left"):
        table.add_column(justify=justify, overflow="fold")
    table.add_row(*(Text(name, style="bold") for name in ("shard", "status", "visits", "where")))
    for one in standings:
        status = Text(one.status, STYLES.get(one.status, FAILURE))
        where = one.where + (f": {one_line(one.reason)}" if one.reason else "")
        table.add_row(Text(str(one.shard)), status, Text(visits(one)), Text(where))
    return table


def visits(one: Standing) -> str:
    """`3 of 12`; nothing where a shard has not begun."""
    return f"{one.visits:,} of {one.of:,}" if one.of else ""


def line(one: Standing) -> str:
    """A shard in a line: `shard 1: running, 3 of 12 visits; job 17_1`."""
    told = ", ".join(part for part in (one.status, f"{visits(one)} visits" if one.of else "") if part)
    return f"shard {one.shard}: {told}" + (f"; {one.where}" if one.where else "")
