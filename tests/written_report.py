"""A report's files, as tests read them: the charts of a page, which stand in a script beside it."""

import json
import re
from pathlib import Path
from typing import Any

from mtbench.report.packed import unpacked, unpacked_column
from mtbench.report.rows import Column, JobRows


def charts(page: Path) -> dict[str, dict[str, Any]]:
    """The specifications of a page's charts by name, those alone that the page has a place for."""
    script = page.parent / "assets" / f"charts-{page.stem}.js"
    if not script.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(
        script.read_text().removeprefix("mtbenchCharts(").removesuffix(");\n")
    )
    found = {name: unpacked(spec) for name, spec in found.items()}
    assert list(found) == re.findall(r'<div class="drawing" id="([\w.-]+)">', page.read_text())
    return found


def rows(page: Path) -> list[str]:
    """All rows of the table of jobs of an operator's page, as HTML."""
    script = (page.parent / "assets" / f"rows-{page.stem}.js").read_text()
    _, found = json.loads(script.removeprefix("mtbenchRows(").removesuffix(");\n").join("[]"))
    columns = [
        Column(**{name: each and unpacked_column(each) for name, each in one.items()}) for one in found["columns"]
    ]
    return list(map(str, JobRows(found["numbers"], columns).html(len(found["numbers"]))))
