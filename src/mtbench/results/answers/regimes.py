"""What a cell stands for: a step of decoding, reading a prompt, a whole text, a batch of prompts, or none of them."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Row = Mapping[str, Any]

DECODE, PREFILL, GENERATE, BATCH, PLAIN = "decode", "prefill", "generate", "batch", "plain shapes"

REGIMES = (DECODE, PREFILL, GENERATE, BATCH, PLAIN)
"""decode: one position, or few of a language model, behind a cache or alone. prefill: a whole prompt. generate: a whole text.
batch: several prompts at once. plain shapes: an operator that no language model asked for."""

FEW_POSITIONS = 8
"""A step of decoding has one; one that checks guessed tokens a few."""


@lru_cache(maxsize=1024)
def _phase(params: str) -> tuple[Any, bool]:
    """The phase that the parameters name, if any, and whether they are causal."""
    found = json.loads(params)
    return found.get("phase"), found.get("causal") is True


def regime(row: Row) -> str:
    """The regime of a record's shape, one of REGIMES."""
    phase, causal = _phase(row["params"])
    if phase in (DECODE, PREFILL, GENERATE):
        return BATCH if phase == PREFILL and row["batch_size"] > 1 else phase
    of_a_model = row["model"] is not None or causal or row["kv_len"] is not None
    few = row["seq_len"] <= (FEW_POSITIONS if of_a_model else 1)
    if few and (row["kv_len"] is not None or row["batch_size"] <= FEW_POSITIONS):
        return DECODE
    if not of_a_model:
        return PLAIN
    return PREFILL if row["batch_size"] == 1 else BATCH
