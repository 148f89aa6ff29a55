"""Whether tokens were chosen greedily, by the definition: how much likelier another would have been, at each of them.

Two right answers may differ: rounding decides between two tokens that are nearly equally likely, and all that follows is then
another text. So a text is held against the logits that the definition gives for this very text.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.language_models.config import LanguageModel
from mtbench.language_models.definition import Read, last_logits

NO_TOKEN = -(2**63)
"""What a reference has in place of tokens. No library makes it: where llama.cpp can choose none it says -1."""

NEVER = 1e9
"""The regret of what is no token of the vocabulary."""

Host = NDArray[Any]


def regrets(
    xp: Any, model: LanguageModel, read: Read, prompts: Host, made: Host, rows: int, output: str | None = None
) -> Host:
    """Of each token made, (batch, new): the largest logit less its own, relative to the logits' root mean square there."""
    valid = (made >= 0) & (made < model.vocab_size) & (made == np.rint(made))
    chosen = np.where(valid, made, 0).astype(np.int64)
    text = np.concatenate([prompts, chosen[:, :-1]], axis=1)
    logits = last_logits(xp, model, read, text, None, rows, output, last=chosen.shape[1])
    own = np.take_along_axis(logits, chosen[..., None], axis=-1)[..., 0]
    regret = (logits.max(axis=-1) - own) / np.sqrt(np.mean(logits**2, axis=-1))
    return np.where(valid, regret, NEVER)
