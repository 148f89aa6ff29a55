"""Texts of a server with OpenAI's API: several requests at a time, and the times of tokens in their streams."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean, median
from typing import Any

import numpy as np

from mtbench.errors import ServerFailed

LITTLE = 0.02
"""A smaller relative difference between a prompt's length by the server's count and the length asked for needs no warning."""

CACHED = 0.1
"""A larger part of the prompts from the server's cache, more than a chat's template, needs a warning."""

SEVERAL = 1.5
"""With more tokens in a chunk than this, the first chunk has more than the first token."""


class Generate:
    """tokens -> how many tokens came, (batch,): a request for each row, all at once.

    It uses only the shape of its input: each request has a prompt of its own, of as many tokens, that was never sent before.

    `stamps` holds two times for each call, in nanoseconds since it began: when the first token came, the median of the
    requests; and that plus the mean time of a further token. Tokens are those that the server counts. They are taken to be
    spread evenly over the chunks of a text, so of n tokens in c chunks n (c - 1) / c came after the first chunk. The rate of
    decoding is the sum of these over all requests, divided by the time from the first chunk of any request to the last chunk of
    any. The mean time of a token is the number of requests divided by this rate.
    """

    def __init__(self, server: Any, new_tokens: int) -> None:
        self._server, self._new = server, new_tokens
        self._pool: ThreadPoolExecutor | None = None
        self._asked = self._calls = 0
        self._texts: list[Any] = []
        self.stamps: list[list[int]] = []

    def __call__(self, tokens: Any) -> Any:
        started = time.perf_counter_ns()
        batch, self._asked = tokens.shape
        texts = self._at_once([self._server.prompt(self._asked) for _ in range(batch)])
        self._calls += 1
        self._texts += texts
        self.stamps.append(self._stamps(texts, started))
        return np.array([self._came(text) for text in texts], np.float32).view(type(tokens))

    def _at_once(self, prompts: Sequence[str]) -> list[Any]:
        """The texts of all prompts, asked for at once. If one fails, raises ServerFailed when all have ended."""
        if len(prompts) == 1:
            return [self._text(prompts[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(prompts))
        return list(self._pool.map(self._text, prompts))

    def _text(self, prompt: str) -> Any:
        text = self._server.text(prompt, self._new)
        if not self._came(text):
            raise ServerFailed("failed", f"{self._server.client.named} answered with a text of no tokens.")
        if text.tokens is None and self._server.per_chunk is None:
            uncounted = "ended a text without the number of its tokens, which it gave before."
            raise ServerFailed("failed", f"{self._server.client.named} {uncounted}")
        return text

    def _came(self, text: Any) -> float:
        """The tokens of a text."""
        if text.tokens is not None:
            return float(text.tokens)
        return len(text.arrivals) * (self._server.per_chunk or 1.0)

    def _stamps(self, texts: Sequence[Any], started: int) -> list[int]:
        firsts = [(text.arrivals or [text.ended])[0] for text in texts]
        first_ns = round(median(first - started for first in firsts))
        later = sum(self._came(text) * (1 - 1 / len(text.arrivals)) for text in texts if text.arrivals)
        span_ns = max((text.arrivals or [text.ended])[-1] for text in texts) - min(firsts)
        if later <= 0 or span_ns <= 0:
            return [first_ns]
        return [first_ns, first_ns + max(1, round(span_ns * len(texts) / later))]

    @property
    def tokens_per_call(self) -> float:
        """How many tokens came in a call, on average."""
        return sum(map(self._came, self._texts)) / max(1, self._calls)

    def caveats(self) -> list[str]:
        """Warnings about the texts that came."""
        found = (self._of_prompts(), self._of_an_early_end(), self._of_counting(), self._of_caches(), self._of_drafts())
        return [one for one in found if one is not None]

    def _of_prompts(self) -> str | None:
        counted = [text.prompt_tokens for text in self._texts if text.prompt_tokens is not None]
        if not counted:
            return (
                None
                if self._server.per_word
                else "prompts have one word for each token asked for: the server does not count a prompt's tokens"
            )
        mean = fmean(counted)
        if abs(mean - self._asked) <= max(1.0, LITTLE * self._asked):
            return None
        return f"prompts had {mean:.0f} tokens by the server's count, where {self._asked} were asked for"

    def _of_an_early_end(self) -> str | None:
        early = sum(self._ended_early(text) for text in self._texts)
        if not early:
            return None
        came = [self._came(text) for text in self._texts]
        return (
            f"{early} of {len(came)} texts ended early, with {fmean(came):.0f} of {self._new} tokens on average: rates count "
            "the tokens that came, and times are of less work"
        )

    def _ended_early(self, text: Any) -> bool:
        return bool(text.finish != "length" if text.tokens is None else text.tokens < self._new)

    def _of_counting(self) -> str | None:
        if self._server.per_chunk is None:
            return None
        if not self._server.counts:
            return "each chunk is taken for one token: the server does not count them"
        each = f"{self._server.per_chunk:.2f}"
        return f"tokens are counted by chunks, of {each} tokens each: the server's streams do not count them"

    def _of_caches(self) -> str | None:
        cached = [
            text.cached_tokens / text.prompt_tokens for text in self._texts if text.cached_tokens and text.prompt_tokens
        ]
        part = sum(cached) / max(1, len(self._texts))
        return None if part <= CACHED else f"{100 * part:.0f} % of the prompts came from the server's cache"

    def _of_drafts(self) -> str | None:
        if any(text.drafted for text in self._texts):
            return "speculative decoding: the server drafted tokens, so that its speed depends on the text"
        chunks = sum(len(text.arrivals) for text in self._texts)
        per_chunk = sum(map(self._came, self._texts)) / max(1, chunks)
        if self._server.per_chunk is not None or per_chunk <= SEVERAL:
            return None
        return (
            f"{per_chunk:.1f} tokens came in a chunk on average, by speculative decoding or grouping: the time to the first "
            "token is that to the first chunk"
        )
