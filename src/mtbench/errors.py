"""The two errors that are not defects: a wrong request, and something this machine cannot do."""

from collections.abc import Iterable
from difflib import get_close_matches

SAID_OTHERWISE = {
    "cuda": "gpu", "mps": "gpu", "metal": "gpu", "pytorch": "torch",
    "fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16",
}  # fmt: skip
"""Names that others use for ours, which spelling does not find."""


class ConfigError(Exception):
    """The user asked for something that cannot be measured; the message says what is wrong and what to do."""


class Unsupported(Exception):
    """An arm is not possible on this machine (no such GPU, library or dtype); the message says why and what would help."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a misspelt name: what was asked for, the nearest known name, and all known names."""
    names = sorted(known, key=lambda each: (int(each) if each.isdecimal() else 0, each))
    near = (
        [SAID_OTHERWISE[name]] if SAID_OTHERWISE.get(name) in names else get_close_matches(name, names, n=1, cutoff=0.5)
    )
    suggestion = f" Did you mean '{near[0]}'?" if near else ""
    return f"No {kind} '{name}'.{suggestion} Known: {', '.join(names)}."
