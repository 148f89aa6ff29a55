"""How to ask a server with OpenAI's API for a text of a given length after a prompt of a given length: found by trying."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtbench.errors import ServerFailed
from mtbench.frameworks._openai_client import Client, Refusal, Text

ENDPOINTS = {"completions": "/completions", "chat": "/chat/completions"}
"""In the order in which they are tried. A completion continues the prompt itself, as the other libraries do; a chat puts a
template around the prompt, whose tokens count."""

COUNTING: dict[str, Any] = {"stream_options": {"include_usage": True}}
"""Asks for the number of tokens at the end of a stream."""

EXTRAS: tuple[dict[str, Any], ...] = ({**COUNTING, "ignore_eos": True}, COUNTING, {})
"""Fields that not every server takes; `ignore_eos` (vLLM, llama.cpp): no early end."""

NOT_THERE = (404, 405, 501)
NOT_UNDERSTOOD = (400, 422)
"""HTTP statuses for a path that a server does not have, and for fields that it does not know."""

PROBE_WORDS, PROBE_TOKENS = (16, 144), 8
"""The lengths in words of two prompts, which show how many tokens a word has, and the tokens asked for after each."""

NOUNS = """
time year people way day man thing woman life child world school state family student group country problem hand part place
case week company system program question work government number night point home water room mother area money story fact
month lot right study book eye job word business issue side kind head house service friend father power hour game line end
member law car city community name president team minute idea kid body information back parent face others level office door
health person art war history party result change morning reason research girl guy moment air teacher force education
"""
WORDS = NOUNS.split()
"""Prompts are made of these common English nouns. Each is one token, with the space before it, in the vocabularies of most
models."""


@dataclass(frozen=True)
class Server:
    """A model on a server, and how it is asked.

    A prompt of n words has `overhead` + n * `per_word` tokens; `per_word` is None where the server does not count prompts.
    `per_chunk` is how many tokens a chunk has, where streams do not end with the number of tokens; None where they do. `counts`
    says whether the server counts tokens at all.
    """

    client: Client
    model: str
    endpoint: str  # of ENDPOINTS
    extras: dict[str, Any]
    overhead: float = 0.0
    per_word: float | None = None
    per_chunk: float | None = None
    counts: bool = True

    def prompt(self, tokens: int) -> str:
        """A prompt of about `tokens` tokens: random words, new ones in each call, so that no cache of prompts helps."""
        words = max(1, round((tokens - self.overhead) / (self.per_word or 1.0)))
        return " ".join(random.SystemRandom().choices(WORDS, k=words))

    def text(self, prompt: str, tokens: int) -> Text:
        """A text of at most `tokens` tokens, each the likeliest. Raises ServerFailed."""
        try:
            return self._streamed(prompt, tokens)
        except Refusal as refusal:
            raise ServerFailed("failed", str(refusal)) from None

    def calibrated(self) -> "Server":
        """The same, knowing how many tokens words and chunks are. Raises Refusal and ServerFailed."""
        prompts = [self.prompt(words) for words in PROBE_WORDS]
        texts = [self._streamed(prompt, PROBE_TOKENS) for prompt in prompts]
        counted, made = [each.prompt_tokens for each in texts], [each.tokens for each in texts]
        per_chunk, counts = None, True
        if None in made:
            usages = [self._usage(prompt) for prompt in prompts]
            counted, made = ([usage.get(name) for usage in usages] for name in ("prompt_tokens", "completion_tokens"))
            chunks = sum(len(each.arrivals) for each in texts)
            counts = chunks > 0 and _sum(made) > 0
            per_chunk = _sum(made) / chunks if counts else 1.0
        known = replace(self, per_chunk=per_chunk, counts=counts)
        few, many = counted
        if few is None or many is None or many <= few:
            return known
        per_word = (many - few) / (PROBE_WORDS[1] - PROBE_WORDS[0])
        return replace(known, per_word=per_word, overhead=few - PROBE_WORDS[0] * per_word)

    def _streamed(self, prompt: str, tokens: int) -> Text:
        return self.client.text(ENDPOINTS[self.endpoint], self._body(prompt, tokens) | self.extras)

    def _usage(self, prompt: str) -> dict[str, Any]:
        """The usage that an answer without a stream reports for the same prompt: this server's streams do not report it."""
        extras = {name: value for name, value in self.extras.items() if name not in COUNTING}
        try:
            said = self.client.whole(ENDPOINTS[self.endpoint], self._body(prompt, PROBE_TOKENS) | extras)
        except Refusal:
            return {}
        usage = said.get("usage") if isinstance(said, dict) else None
        return usage if isinstance(usage, dict) else {}

    def _body(self, prompt: str, tokens: int) -> dict[str, Any]:
        chat = self.endpoint == "chat"
        said: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        return {"model": self.model, **said, "max_tokens": tokens, "temperature": 0}


def found(client: Client, model: str, endpoint: str | None) -> Server:
    """The server as it is to be asked; `endpoint` where only one is to be tried. Raises ServerFailed."""
    refused: list[Refusal] = []
    for each in ENDPOINTS if endpoint is None else (endpoint,):
        for extras in EXTRAS:
            try:
                return Server(client, model, each, extras).calibrated()
            except Refusal as refusal:
                refused.append(refusal)
                if refusal.code not in NOT_UNDERSTOOD:
                    break
        if refused[-1].code not in NOT_THERE:
            break
    raise ServerFailed("failed", str(refused[0]))


def _sum(counts: Sequence[int | None]) -> int:
    return sum(each or 0 for each in counts)
