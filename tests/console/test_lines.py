"""Lines of words, as wide as a terminal is."""

import io

from rich.console import Console

from mtbench.console.lines import hanging


def test_words_on_a_name_stay_in_their_column_and_whole_in_a_pipe() -> None:
    terminal = Console(width=30, force_terminal=True, file=io.StringIO())
    assert hanging("  a  ", "one two three four five six", terminal) == "  a  one two three four five\n     six"
    assert hanging("  a  ", "", terminal) == "  a  "
    narrow = Console(width=20, force_terminal=True, file=io.StringIO())
    assert hanging("  a  ", "one two three four", narrow) == "  a  one two three\n    four"
    assert hanging("  a  ", "one two " * 90, Console(file=io.StringIO())) == "  a  " + "one two " * 90
