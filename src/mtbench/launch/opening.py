"""Builds a sweep's report beside its records, and opens a report in the browser that the system prefers."""

import sys
import webbrowser
from pathlib import Path

from mtbench.console.waiting import waiting

FOLDER = "report"
"""Of a sweep's own report, below the sweep."""


def built(folder: Path, pictures: bool = True) -> Path:
    """The first page of the report of the records in a folder, built beside them; `pictures` are for readers without
    JavaScript. Raises ConfigError as the report does."""
    with waiting("Building the report ..."):
        from mtbench.report import build

        return build([folder], folder / FOLDER, pictures=pictures)


def opened(index: Path) -> bool:
    """Opens a page; False where there is no browser to open it with, as on a server."""
    try:
        return webbrowser.open(index.absolute().as_uri())
    except webbrowser.Error:
        return False


def show(index: Path, wanted: bool, command: str) -> None:
    """Says where a report is, and opens it where that is wanted."""
    print(f"The report is {index}")
    if wanted and not opened(index):
        print(f"mtbench {command}: there is no browser to open it with.", file=sys.stderr)
