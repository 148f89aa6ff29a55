"""Draws the README's pictures from the records of a real run, `which.parquet` beside this file:

    python tests/pictures.py

docs/images/terminal.svg is what a run ends with in a terminal of 100 columns, docs/images/report.png the report's first page in
Chromium, and docs/images/report.txt the words of that page. A test compares words and records with those in the repository.
"""

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mtbench.api import Results
from mtbench.console import answers, table
from mtbench.report import build
from mtbench.results.record import Record

RECORDS = Path(__file__).with_name("which.parquet")
"""Of `mtbench which model=smollm2_135m --minutes 5` and the `resume` that it names, merged into one file, on two cores of a
shared virtual machine."""

IMAGES = Path(__file__).parents[1] / "docs/images"
COMMAND = "$ mtbench which model=smollm2_135m --minutes 5"
COLUMNS = 100
PAGE = {"width": 1100, "height": 760}


def records() -> list[Record]:
    return Results((RECORDS,)).rows


def terminal() -> Console:
    """A console on which a run has just ended."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(COMMAND, style="bold"))
    console.print(Text("..."))
    console.print(table.results(records(), COLUMNS))
    answers.show(console, answers.of_records_in(records(), {}))
    return console


def svg(console: Console) -> str:
    """The picture, in the reader's own fonts: Rich would have them fetched from a host."""
    drawn = console.export_svg(title="mtbench", unique_id="terminal")
    return re.sub(r"@font-face\s*\{.*?\}", "", drawn, flags=re.DOTALL)


def words_of_svg(svg: str) -> str:
    """The text of a terminal's picture, without its layout."""
    text = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", svg))
    for code, sign in (("&#160;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&#x27;", "'"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(code, sign)
    return " ".join(text.split())


def report(folder: Path) -> Path:
    """The first page of the report of these records."""
    return build([RECORDS], folder)


def words_of_page(index: Path) -> str:
    """What the page's headings and its first sentences say."""
    html = index.read_text(encoding="utf-8")
    found = re.findall(r"<h[12][^>]*>(.*?)</h[12]>|<p class=\"headline[^>]*>(.*?)</p>", html, re.DOTALL)
    plain = [re.sub(r"<[^>]+>", "", heading or line) for heading, line in found]
    return "\n".join(" ".join(each.split()) for each in plain) + "\n"


def photograph(index: Path, file: Path) -> None:
    from playwright.sync_api import sync_playwright

    found = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport=PAGE, color_scheme="light")  # type: ignore[arg-type]
        page.goto(index.absolute().as_uri())
        page.wait_for_timeout(1500)
        page.screenshot(path=file)
        browser.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "terminal.svg").write_text(svg(terminal()), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        index = report(Path(folder) / "report")
        (IMAGES / "report.txt").write_text(words_of_page(index), encoding="utf-8")
        photograph(index, IMAGES / "report.png")


if __name__ == "__main__":
    sys.exit(main())
