"""Checks by the definition whether tokens were chosen greedily: how much larger the largest logit was than each token's own.

Two correct answers may differ: rounding decides between two tokens that are nearly equally likely, and from there on the texts
are different. So a text is checked against the logits that the definition gives for this very text.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.language_models.config import LanguageModel
from mtbench.language_models.definition import Read, last_logits

NO_TOKEN = -(2**63)
"""Stands for a token in the reference, which has none. No library gives this value; llama.cpp gives -1 where it cannot
choose."""

NEVER = 1e9
"""The regret of a value that is not in the vocabulary."""

Host = NDArray[Any]


def regrets(
    xp: Any, model: LanguageModel, read: Read, prompts: Host, made: Host, rows: int, output: str | None = None
) -> Host:
    """The regret of each token made, (batch, new): the largest logit minus the token's own, divided by the root mean square of
    the logits at that position."""
    valid = (made >= 0) & (made < model.vocab_size) & (made == np.rint(made))
    chosen = np.where(valid, made, 0).astype(np.int64)
    text = np.concatenate([prompts, chosen[:, :-1]], axis=1)
    logits = last_logits(xp, model, read, text, None, rows, output, last=chosen.shape[1])
    own = np.take_along_axis(logits, chosen[..., None], axis=-1)[..., 0]
    regret = (logits.max(axis=-1) - own) / np.sqrt(np.mean(logits**2, axis=-1))
    return np.where(valid, regret, NEVER)
