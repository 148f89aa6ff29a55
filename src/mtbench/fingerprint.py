"""Short names for what is too long to be one: the same content has the same fingerprint, on every machine and day."""

import hashlib
import json
from typing import Any


def of(content: Any, digits: int = 64) -> str:
    """So many hexadecimal digits for plain values, whatever the order of their names. Ten of them leave a chance of about
    1e-6 that any two of a thousand are alike."""
    return of_bytes(json.dumps(content, sort_keys=True).encode(), digits)


def of_bytes(content: bytes, digits: int = 64) -> str:
    """So many hexadecimal digits for a file's bytes, or a text's."""
    return hashlib.sha256(content).hexdigest()[:digits]
