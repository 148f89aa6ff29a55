"""What must not leave a machine with a result: names of people and hosts, paths below a home, addresses, secrets."""

import getpass
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SHORTEST_NAME = 3
"""A shorter user or host name is part of too many words to be taken out, and says as little."""

NAMES_NOBODY = ("root", "localhost", "user", "runner", "admin")

HOMES = r"/Users/[^/\s'\"]+|/home/[^/\s'\"]+"

NETWORK = r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b"

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"

NETWORK_ADDRESS = "an address of the network"
"""The one thing in FOREIGN that a version may look like."""

NAMED_ADDRESS = re.compile(r"(?<![\w+.-])(?!(?:git\+)?ssh://)[\w+.-]+://[^/\s@]+@")
"""An address with a user's name, or a name and a password. Addresses of ssh do not count: their name is everybody's `git`."""

ADDRESS = re.compile(r"\b[\w+.-]+://[^\s'\"<>]+")

FOREIGN: dict[str, re.Pattern[str]] = {
    "a path below a home": re.compile(rf"{HOMES}|/(?:root|(?:private/)?var/folders)/|[A-Za-z]:\\+Users\\+"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[A-Za-z]{2,}"),
    NETWORK_ADDRESS: re.compile(
        rf"(?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}(?![\d.])|\b[0-9a-fA-F]{{2}}(?::[0-9a-fA-F]{{2}}){{5}}\b"
    ),
    "a secret": re.compile(
        r"\b(?:hf|ghp|gho|ghs|ghu|glpat|pypi|xox[abps]|sk|pk|npm)[-_][A-Za-z0-9_-]{16,}|\bAKIA[A-Z0-9]{16}\b"
        r"|(?i:bearer\s+[\w.-]{16,}|(?:token|secret|password|passwd|api_?key)\W{1,4}[\w./+-]{6,})"
    ),
    "a name in an address": re.compile(r"\b[a-z]+://[^/\s:@]+:[^/\s@]+@"),
}
"""Patterns of what is private whichever machine wrote it, by what it is."""

SECRET_NAMES = re.compile(r"(?:^|_)(?:key|token|secret|password|passwd|credentials?)(?:_|$)|api_?key", re.IGNORECASE)
"""Names of environment variables whose values are secrets: OPENAI_API_KEY, HF_TOKEN."""

KEYS = re.compile(
    r"^(?:host|host_?name|node|user|user_?name|login|home|cwd|path|e_?mail|serial|serial_number|uuid|mac|ip|address)$",
    re.IGNORECASE,
)
"""Names of facts that are private whatever they say."""


@dataclass(frozen=True)
class Private:
    """What is private on one machine."""

    home: str
    names: tuple[str, ...]  # of the user and the host

    @classmethod
    def here(cls) -> "Private":
        node = platform.node()
        names = {node, node.partition(".")[0], Path.home().name, _user()}
        kept = {name for name in names if len(name) >= SHORTEST_NAME and name.lower() not in NAMES_NOBODY}
        return cls(str(Path.home()), tuple(sorted(kept, key=len, reverse=True)))

    def cleaned(self, text: str) -> str:
        """The text without paths below a home, names of the user or the host, and addresses of the network."""
        homes = rf"(?:{re.escape(self.home)}|{HOMES}|~)"
        text = re.sub(rf"(['\"]){homes}(?:/.*?)?\1", "'(a path)'", text)
        text = re.sub(rf"{homes}(?:/[^\s'\",;:)]*)+", "(a path)", text)
        text = re.sub(NETWORK, "(an address)", text)
        for name in self.names:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "(a name)", text, flags=re.IGNORECASE)
        return text

    def seen(self, text: str) -> str | None:
        """What a text gives away that is private on this machine or on any; None where it gives nothing away."""
        for name in self.names:
            if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE):
                return "the name of the user or the host"
        return seen(text)


def without_home(text: str) -> str:
    """A text with ~ in place of the user's home, also of the one that a link leads to. A home that is the root, as in a
    container under a number without a name, names nobody."""
    try:
        home = Path.home()
    except RuntimeError:  # there is none
        return text
    for place in sorted({str(home), os.path.realpath(home)}, key=len, reverse=True):
        if len(Path(place).parts) > 1:
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w.-])", "~", text)
    return text


def without_addresses(text: str, requirement: str) -> str:
    """What pip said of a requirement, without the address that the requirement names, its host, or any other address."""
    text = ADDRESS.sub("(an address)", text)
    for found in ADDRESS.findall(requirement):
        host = urlsplit(found).hostname
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", "(an address)", text) if host else text
    return text


def seen(text: str) -> str | None:
    """What a text gives away that is private on any machine; None where it gives nothing away."""
    return next((what for what, pattern in FOREIGN.items() if pattern.search(text)), None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return ""
