"""How a command ends that cannot do what it was asked."""

import sys
from typing import NoReturn


def refuse(command: str, reason: object) -> NoReturn:
    """Says why on stderr, in a line, and ends with the exit code of a usage error."""
    print(f"mtbench {command}: {reason}", file=sys.stderr)
    sys.exit(2)
