"""`earlier=[DIR]`: what earlier sweeps say of the spread between restarts becomes a part of the plan."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mtbench.plan.jobs import Plan


def check(sources: Sequence[str]) -> None:
    """Raises ConfigError where there is no such folder or file, or no record in any: before anything is written."""
    if sources:
        from mtbench.results.earlier import files_of

        files_of(_paths(sources))


def informed(plan: Plan, sources: Sequence[str], tell: Callable[[str], None] = lambda line: None) -> Plan:
    """The plan with what these folders and merged files say; `tell` is told what was learnt, and what was left out. Raises
    ConfigError where there is no such folder, or no record in any."""
    if not sources:
        return plan
    from mtbench import machine
    from mtbench.results.earlier import learnt

    found = learnt(_paths(sources))
    for line in found.lines(machine.identity(machine.describe())):
        tell(line)
    return replace(plan, earlier=found.useful)


def _paths(sources: Sequence[str]) -> list[Path]:
    return [Path(source).expanduser() for source in sources]
