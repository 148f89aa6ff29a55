"""How a server with OpenAI's API is to be asked for a text of so many tokens after a prompt of so many: found by asking it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtbench.errors import ServerFailed
from mtbench.frameworks._openai_client import Client, Refusal, Text

ENDPOINTS = {"completions": "/completions", "chat": "/chat/completions"}
"""In the order in which they are tried: a completion is the model's own text of the very prompt, as other libraries make it,
while a chat puts a template around it, whose tokens count."""

COUNTING: dict[str, Any] = {"stream_options": {"include_usage": True}}
"""Has a stream end with the number of its tokens."""

EXTRAS: tuple[dict[str, Any], ...] = ({**COUNTING, "ignore_eos": True}, COUNTING, {})
"""Fields that not every server takes; `ignore_eos` (vLLM, llama.cpp): no early end."""

NOT_THERE = (404, 405, 501)
NOT_UNDERSTOOD = (400, 422)
"""Answers to a request that a server has no place for, and to one with fields that it does not know."""

PROBE_WORDS, PROBE_TOKENS = (16, 144), 8
"""The lengths of two prompts, from which follows how many tokens a word is, and of the texts that are asked for."""

NOUNS = """
time year people way day man thing woman life child world school state family student group country problem hand part place
case week company system program question work government number night point home water room mother area money story fact
month lot right study book eye job word business issue side kind head house service friend father power hour game line end
member law car city community name president team minute idea kid body information back parent face others level office door
health person art war history party result change morning reason research girl guy moment air teacher force education
"""
WORDS = NOUNS.split()
"""Of which prompts are made: common English nouns, each of which is one token with the space before it in the vocabularies of
most models."""


@dataclass(frozen=True)
class Server:
    """A model on a server, and how it is asked.

    A prompt of n words has `overhead` + n * `per_word` tokens, None where the server counts none. `per_chunk` are the tokens of
    a chunk where streams do not end with their number, None where they do; `counts` says whether the server counts at all.
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
        """So many tokens, as nearly as is known: words at random, others in each call, so that no cache of prompts helps."""
        words = max(1, round((tokens - self.overhead) / (self.per_word or 1.0)))
        return " ".join(random.SystemRandom().choices(WORDS, k=words))

    def text(self, prompt: str, tokens: int) -> Text:
        """A text of at most so many tokens, each the likeliest. Raises ServerFailed."""
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
        """What a whole answer says that it took, of the same prompt: streams of this server do not say it."""
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
