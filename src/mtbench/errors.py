"""The two things that can be wrong without anything being broken: a request, and a machine."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(Exception):
    """The user asked for something that cannot be measured; the message says what is wrong and what to do."""


class Unsupported(Exception):
    """An arm is not possible on this machine (no such GPU, library or dtype); the message says why and what would help."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a misspelt name: what was asked for, the nearest known name, and all known names."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    suggestion = f" Did you mean '{near[0]}'?" if near else ""
    return f"No {kind} '{name}'.{suggestion} Known: {', '.join(names)}."
