"""The README's pictures show what mtbench says today: words and columns are those of the same records drawn anew."""

import re
from pathlib import Path

import pictures

ROOT = Path(__file__).parents[1]
RENEW = "draw them anew: .venv/bin/python tests/pictures.py, and look at them"


def test_the_terminal_is_drawn_with_todays_words() -> None:
    drawn = (pictures.IMAGES / "terminal.svg").read_text()
    assert pictures.words_of_svg(drawn) == pictures.words_of_svg(pictures.svg(pictures.terminal())), RENEW


def test_the_page_is_photographed_with_todays_words(tmp_path: Path) -> None:
    written = (pictures.IMAGES / "report.txt").read_text()
    assert pictures.words_of_page(pictures.report(tmp_path / "report")) == written, RENEW
    assert (pictures.IMAGES / "report.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_asks_nothing_of_a_network() -> None:
    drawn = (pictures.IMAGES / "terminal.svg").read_text()
    assert not re.search(r"url\(\W?http|href=", drawn)


def test_the_readme_is_short_and_quotes_the_picture() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) < 4500
    words = pictures.words_of_svg((pictures.IMAGES / "terminal.svg").read_text())
    quoted = re.findall(r"`(\d[\d.]*x \[[^`]+)`", text)
    assert quoted
    assert all(one in words for one in quoted)
    assert pictures.COMMAND.removeprefix("$ ") in text
    for image in re.findall(r"\]\((docs/images/[\w.]+)\)", text):
        assert (ROOT / image).is_file()
