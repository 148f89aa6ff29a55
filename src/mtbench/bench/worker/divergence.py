"""How far the logits of rounded weights are from those of the weights before, which no check of a right answer says."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from mtbench.operators.base import Host
from mtbench.plan.accuracy import Divergence


def of(logits: Host, before: Host) -> list[Divergence]:
    """Of each position: logits are (..., vocab)."""
    rows, wanted = (each.reshape(-1, each.shape[-1]) for each in (logits, before))
    log_p, log_q = (_log_softmax(each) for each in (wanted, rows))
    kl = np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)
    same = rows.argmax(axis=-1) == wanted.argmax(axis=-1)
    return [Divergence(max(float(one), 0.0), float(agrees)) for one, agrees in zip(kl, same, strict=True)]


def mean(found: Sequence[Divergence]) -> Divergence | None:
    if not found:
        return None
    return Divergence(fmean(each.kl_nats for each in found), fmean(each.top1_agreement for each in found))


def _log_softmax(x: Host) -> Host:
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
