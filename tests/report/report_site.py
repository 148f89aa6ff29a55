"""A built report, and a visit to one of its pages in a browser."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtbench.results.record import Record


@dataclass(frozen=True)
class Report:
    """A built report, its records, and the folder that they were read from."""

    folder: Path
    records: list[Record]
    source: Path

    def url(self, page: str) -> str:
        file, _, anchor = page.partition("#")
        return (self.folder / file).as_uri() + (f"#{anchor}" if anchor else "")


@dataclass
class Visit:
    """A page, and everything that went wrong on it or was asked for by it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Waits until every chart that the page shows has been drawn."""
        self.page.wait_for_function("!('busy' in document.documentElement.dataset)")
