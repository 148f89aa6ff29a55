"""How a command ends that cannot do what it was asked."""

import sys
from typing import NoReturn

from mtbench.console.lines import tell


def refuse(command: str, reason: object) -> NoReturn:
    """Says why on stderr, in a line, and ends with the exit code of a usage error."""
    tell(f"mtbench {command}: {reason}", sys.stderr)
    sys.exit(2)
