"""How a command ends that cannot do what it was asked."""

import sys
from typing import NoReturn

from mtbench.console.lines import tell


def refuse(command: str | None, reason: object) -> NoReturn:
    """Says why on stderr, in a line, and ends with the exit code of a usage error. `command` is None for a sweep."""
    tell(f"{'mtbench' if command is None else f'mtbench {command}'}: {reason}", sys.stderr)
    sys.exit(2)
