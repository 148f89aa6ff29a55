"""A client of servers with OpenAI's API (https://platform.openai.com/docs/api-reference): asks for texts, as streams.

It uses the standard library's http.client, which follows no redirect and asks no proxy, so that only the address that the user
gave is ever contacted. Each request has a connection of its own; on one machine that takes some 0.1 ms.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    HTTPSConnection,
    RemoteDisconnected,
)
from typing import Any

from mtbench.errors import ServerFailed
from mtbench.frameworks._address import Address
from mtbench.results.format import one_line

LONGEST_LINE = 1 << 20
"""In bytes. A longer event of a stream is refused; of any other answer no more is read."""

LONGEST_WORDS = 200
"""How many characters of a server's message are repeated."""

TEXT_FIELDS = ("content", "reasoning_content", "reasoning")
"""The fields of a chat's chunk that hold text; the last two come from models that think before they answer."""

DRAFTED = ("draft_n", "accepted_draft_tokens_count", "accepted_prediction_tokens", "speculative_decoding")
"""Where servers say that tokens were drafted: llama.cpp's timings, LM Studio's stats, OpenAI's usage, vLLM's metrics."""


class Refusal(Exception):
    """An answer that is an error, with its HTTP status."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


FAILURES = (Refusal, HTTPException, OSError)
"""All exceptions that `Client.get` raises."""


@dataclass
class Text:
    """A text as it came. `arrivals`: when each chunk with text came (perf_counter_ns); `ended`: when the last event came.

    `tokens`, `prompt_tokens` and `cached_tokens` (of the prompt) are as the server counts; None where it does not.
    """

    arrivals: list[int] = field(default_factory=list)
    ended: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    drafted: bool = False
    finish: str | None = None


@dataclass(frozen=True)
class Client:
    """Asks one server. `silence_s`: how long it may send nothing. `key` is sent to it and never repeated."""

    address: Address
    silence_s: float
    key: str | None = field(default=None, repr=False)

    def get(self, path: str, below: bool = True) -> tuple[Any, HTTPMessage]:
        """The answer to a GET, as JSON or else text, and its headers. `path` is below the API's path, or below the host's root
        without `below`. Raises FAILURES: the caller knows what no answer means."""
        with self._asked("GET", (self.address.path if below else "") + path) as response:
            said = response.read(LONGEST_LINE)
            try:
                return json.loads(said), response.headers
            except ValueError:
                return said.decode(errors="replace"), response.headers

    def whole(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that answers a request without a stream. Raises Refusal and ServerFailed."""
        with self._failures("before it answered"), self._asked("POST", self.address.path + path, body) as response:
            said = response.read(LONGEST_LINE)
        try:
            return json.loads(said)
        except ValueError:
            raise self._garbled(said) from None

    def text(self, path: str, body: Mapping[str, Any]) -> Text:
        """A streamed text. Raises Refusal and ServerFailed."""
        found = Text()
        with (
            self._failures(lambda: _so_far(found)),
            self._asked("POST", self.address.path + path, {**body, "stream": True}) as response,
        ):
            complete = False
            for event in self._events(response):
                found.ended = time.perf_counter_ns()
                if event is None:
                    complete = True
                    break
                self._take(found, event)
            if not complete and found.finish is None:  # some end without [DONE]
                ended = f"{self.named} closed its connection {_so_far(found)}; its own log may say why."
                raise ServerFailed("crashed", ended)
        return found

    @property
    def named(self) -> str:
        return f"the server at {self.address}"

    def _take(self, found: Text, event: Any) -> None:
        if not isinstance(event, dict):
            raise self._garbled(json.dumps(event).encode())
        if event.get("error"):
            raise ServerFailed("failed", f"{self.named} ended a text with an error: {self._clean(_message(event))}")
        choices = event.get("choices") or []
        usage = event.get("usage") or {}
        if not isinstance(choices, list) or not isinstance(usage, dict):
            raise self._garbled(json.dumps(event).encode())
        for choice in choices:
            if not isinstance(choice, dict):
                raise self._garbled(json.dumps(event).encode())
            delta = choice.get("delta") or {}
            if not isinstance(delta, dict):
                raise self._garbled(json.dumps(event).encode())
            if choice.get("text") or any(
                delta.get(name) for name in TEXT_FIELDS
            ):  # a first chunk may name a role alone
                found.arrivals.append(found.ended)
            found.finish = choice.get("finish_reason") or found.finish
        found.tokens = _count(usage, "completion_tokens", found.tokens)
        found.prompt_tokens = _count(usage, "prompt_tokens", found.prompt_tokens)
        details = usage.get("prompt_tokens_details")
        found.cached_tokens = _count(details if isinstance(details, dict) else {}, "cached_tokens", found.cached_tokens)
        found.drafted |= drafted({name: value for name, value in event.items() if name != "choices"})

    def _events(self, response: HTTPResponse) -> Iterator[Any]:
        """The events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html); None for its end.

        Comments keep a connection alive, and may come for ever from a server whose model hangs, so they count as silence.
        """
        spoke = time.monotonic()
        while line := response.readline(LONGEST_LINE + 1):
            is_whole = line.endswith(b"\n")
            line = line.strip()
            name, _, value = line.partition(b":")
            if not is_whole and b"data".startswith(line):
                return  # it was cut
            if not line or name in (b"", b"event", b"id", b"retry"):
                if time.monotonic() - spoke > self.silence_s:
                    raise TimeoutError
                continue
            if name != b"data" or len(line) > LONGEST_LINE:
                raise self._garbled(line)
            if value.strip() == b"[DONE]":
                yield None
                return
            try:
                event = json.loads(value)
            except ValueError:
                if not is_whole:
                    return
                raise self._garbled(value) from None
            yield event
            spoke = time.monotonic()

    @contextmanager
    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[HTTPResponse]:
        """The response to a request. Raises Refusal where it is an error, and whatever http.client raises."""
        kind = HTTPSConnection if self.address.scheme == "https" else HTTPConnection
        connection = kind(self.address.host, self.address.port, timeout=self.silence_s)
        headers = {"Accept": "application/json, text/event-stream"}
        headers |= {} if body is None else {"Content-Type": "application/json"}
        headers |= {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            if response.status >= 300:
                raise Refusal(response.status, self._refusal(response))
            yield response
        finally:
            connection.close()

    def _refusal(self, response: HTTPResponse) -> str:
        said = response.read(LONGEST_LINE).decode(errors="replace")
        try:
            words = _message(json.loads(said))
        except ValueError:
            words = said
        hint = " (a key is taken from the environment, see framework.settings.key_variable)"
        refused = f"{self.named} answered HTTP {response.status}{hint if response.status in (401, 403) else ''}"
        return f"{refused}: {self._clean(words) or response.reason}"

    @contextmanager
    def _failures(self, when: Any) -> Iterator[None]:
        """Turns what http.client raises into ServerFailed with a line. `when` says how far the answer was: text, or a function
        that gives it."""

        def so_far() -> str:
            return str(when() if callable(when) else when)

        try:
            yield
        except TimeoutError:
            silent = f"{self.named} sent nothing for {self.silence_s:g} s {so_far()} (framework.settings.silence_s)."
            raise ServerFailed("timeout", silent) from None
        except ConnectionRefusedError:
            raise ServerFailed("crashed", f"{self.named} no longer answers: connection refused.") from None
        except (HTTPException, OSError) as error:
            if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
                raise self._garbled(str(error).encode()) from None
            what = str(error) or type(error).__name__
            raise ServerFailed("crashed", f"{self.named} broke off {so_far()} ({what}).") from None

    def _garbled(self, said: bytes) -> ServerFailed:
        words = self._clean(said.decode(errors="replace")) or "nothing"
        return ServerFailed("failed", f"{self.named} sent something that is not an event of a stream: {words}")

    def _clean(self, words: str) -> str:
        """The first line of what a server said, without the key, which some repeat."""
        hidden = words.replace(self.key, "(the key)") if self.key else words
        line = one_line(hidden.lstrip())
        return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]} …"


def drafted(said: Any) -> bool:
    """Whether something in an answer says that tokens were drafted and checked: speculative decoding."""
    if isinstance(said, Mapping):
        return any((name in DRAFTED and bool(value)) or drafted(value) for name, value in said.items())
    return isinstance(said, Sequence) and not isinstance(said, str) and any(map(drafted, said))


def _count(usage: Mapping[str, Any], name: str, before: int | None) -> int | None:
    """A count; the last one that the server sends is that of the whole text."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else before


def _message(said: Any) -> str:
    """The words of an error in the forms that servers have: {"error": {"message": ...}}, {"error": ...}, {"detail": ...}."""
    while isinstance(said, Mapping):
        said = next((said[name] for name in ("error", "message", "detail") if said.get(name)), json.dumps(said))
    return said if isinstance(said, str) else json.dumps(said)


def _so_far(text: Text) -> str:
    count = len(text.arrivals)
    return "before the first token" if not count else f"in the middle of a text, after {count} chunks of it"
