"""Lines of words, as wide as a terminal is."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from rich.console import Console

from mtbench.console.lines import hanging


def test_help_and_mistakes_are_broken_between_words_in_a_terminal() -> None:
    width = 60
    code = (
        "import os, sys; os.dup2(2, 1); from mtbench.__main__ import _run\n"
        "for words in ([], ['help'], ['operator=MHA'], ['listt'], ['compare', 'a/none', 'b/none']):\n"
        "    try: _run(words)\n"
        "    except SystemExit: pass\n"
    )
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=slave, stdout=slave) as process:
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # the other end was closed
            while read := os.read(master, 65536):
                text += read
        process.wait()
    os.close(master)
    lines = re.sub(r"\x1b\[\d*[A-Z]", "", text.decode()).splitlines()
    assert any("transformer_encoder_layer" in line for line in lines)
    assert any("'listt'" in line for line in lines)
    assert any("Exit codes:" in line for line in lines)
    assert [line for line in lines if len(line) > width] == []


def test_words_on_a_name_stay_in_their_column_and_whole_in_a_pipe() -> None:
    terminal = Console(width=30, force_terminal=True, file=io.StringIO())
    assert hanging("  a  ", "one two three four five six", terminal) == "  a  one two three four five\n     six"
    assert hanging("  a  ", "", terminal) == "  a  "
    narrow = Console(width=20, force_terminal=True, file=io.StringIO())
    assert hanging("  a  ", "one two three four", narrow) == "  a  one two three\n    four"
    assert hanging("  a  ", "one two " * 90, Console(file=io.StringIO())) == "  a  " + "one two " * 90
