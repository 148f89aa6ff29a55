"""The address of a server: parsed, checked, and shortened to a word for names that gives away no person and no network."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mtbench.errors import ConfigError

EXAMPLE = "http://127.0.0.1:8080/v1"

USUAL_PATH = "/v1"
"""The path of OpenAI's API, for an address that has none."""


@dataclass(frozen=True)
class Address:
    """A server's address. `path` has no slash at its end."""

    scheme: str  # http or https
    host: str
    port: int
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that no network lies between."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            number = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return number.is_loopback or number.is_unspecified  # 0.0.0.0, which this machine takes for itself

    @property
    def word(self) -> str | None:
        """The word for a name, if the address is on this machine and of the usual form: `localhost_8080`."""
        usual = self.is_local and self.scheme == "http" and self.path == USUAL_PATH
        return f"{self.host}_{self.port}" if usual and re.fullmatch(r"[\w.-]+", self.host) else None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(url: str) -> Address:
    """Raises ConfigError where `url` is not the address of a server, or contains what records must not show."""
    how = f"write it as {EXAMPLE}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"framework.url is no address ({error}); {how}.") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "framework.url must not name a user or go on after its path, since records show it. A key is taken from the "
            "environment variable OPENAI_API_KEY."
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"framework.url={url} is no address of a server; {how}.")
    return Address(
        parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], parts.path.rstrip("/") or USUAL_PATH
    )
