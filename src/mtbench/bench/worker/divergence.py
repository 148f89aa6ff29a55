"""How far the logits of quantised weights are from those of the original weights. The correctness check does not say this: its
reference has the quantised weights, too.

Random weights are rounded like trained ones, which are nearly normal, too (Dettmers et al. 2023, QLoRA, appendix F). So the
relative error of the logits is recorded for both. The probabilities of tokens mean something for trained weights only. A
trained model's logits leave some tokens to choose from. Those of random weights are nearly equal for the whole vocabulary or,
where the output projection is the embedding table, make the last token of the input certain. Then the KL divergence is next to
nothing however coarse the weights are, and the likeliest token is the same, or a matter of chance.
"""

import numpy as np

from mtbench.operators.base import Host
from mtbench.plan.accuracy import Divergence


def of(logits: Host, before: Host, trained: bool) -> Divergence:
    """The divergence over all positions; logits are (..., vocab)."""
    rows, wanted = (each.reshape(-1, each.shape[-1]) for each in (logits, before))
    error = float(np.linalg.norm(rows - wanted) / np.linalg.norm(wanted))
    if not trained:
        return Divergence(error, len(rows))
    log_p, log_q = (_log_softmax(each) for each in (wanted, rows))
    kl = np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)
    same = rows.argmax(axis=-1) == wanted.argmax(axis=-1)
    return Divergence(error, len(rows), max(float(kl.mean()), 0.0), float(same.mean()))


def _log_softmax(x: Host) -> Host:
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
