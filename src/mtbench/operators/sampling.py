"""Choosing the next token from the logits of a language model."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Positive, Shape, Size

CEILING, LOWEST, HIGHEST = 3.0, 3.5, 6.0
"""Bounds of the logits: candidates lie between the last two, and all others below the first."""


@dataclass(frozen=True)
class Sampling(Operator):
    """greedy: argmax of the logits. top_k: a sample of softmax(logits / temperature) over the k largest logits.

    logits: (batch, seq, vocab) -> token ids (batch, seq), one for each position; a step of decoding is shape.seq_len=1.

    The sample is argmax(logits / temperature + noise) over the candidates, noise being of the standard Gumbel distribution:
    the Gumbel-max trick (Maddison et al. 2014, https://arxiv.org/abs/1411.0030). The noise is an input, (batch, seq, vocab),
    a value for each token, so that the sample can be checked; drawing it is not part of the time. `k` and `temperature`
    matter to top_k alone. Top-k sampling: Fan et al. 2018, https://arxiv.org/abs/1805.04833.

    So that every library must choose the same token, the inputs leave no ties: `k` random tokens have larger logits than all
    others, and the winner among them (of greedy, the largest) leads by a margin that no dtype rounds away.
    """

    vocab_size: Size = 32000
    method: Literal["greedy", "top_k"] = "top_k"
    k: Size = 50
    temperature: Positive = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "top_k" and self.k > self.vocab_size:
            raise ConfigError(f"k={self.k} exceeds vocab_size={self.vocab_size}.")

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        size = (shape.batch_size, shape.seq_len, self.vocab_size)
        logits = np.minimum(rng.standard_normal(size), CEILING)
        count = self.k if self.method == "top_k" else min(self.k, self.vocab_size)
        rows = np.ndindex(size[:2])
        candidates = np.array([rng.choice(self.vocab_size, count, replace=False) for _ in rows]).reshape(
            *size[:2], count
        )
        np.put_along_axis(logits, candidates, rng.uniform(LOWEST, HIGHEST, candidates.shape), -1)
        if self.method == "greedy":
            np.put_along_axis(logits, candidates[..., :1], HIGHEST + 1, -1)
            return {"logits": logits}
        noise = rng.gumbel(size=size)
        scores = np.take_along_axis(logits / self.temperature + noise, candidates, -1)
        winner = np.take_along_axis(candidates, scores.argmax(-1)[..., None], -1)
        margin = 0.5 * max(1.0, 1 / self.temperature)  # bfloat16 rounds 6 / temperature by less than 0.02 / temperature
        np.put_along_axis(noise, winner, np.take_along_axis(noise, winner, -1) + margin, -1)
        return {"logits": logits, "noise": noise}

    def flops(self, shape: Shape) -> float:
        # a comparison for each logit; of top_k also division, sum and comparison for each candidate
        chosen = 3 * self.k if self.method == "top_k" else 0
        return 1.0 * shape.batch_size * shape.seq_len * (self.vocab_size + chosen)

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        # of the noise, only the candidates' must be read
        noise = self.k if self.method == "top_k" else 0
        row = (self.vocab_size + noise) * ITEM_BYTES[dtype] + INDEX_BYTES
        return float(shape.batch_size * shape.seq_len * row)

    def host_bytes(self, shape: Shape) -> float:
        arrays = 2 if self.method == "top_k" else 1  # of the noise, all is drawn
        return float(arrays * shape.batch_size * shape.seq_len * self.vocab_size * ITEM_BYTES["float64"])

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        logits = inputs[0]
        if self.method == "greedy":
            return xp.argmax(logits, axis=-1)
        least = xp.sort(logits, axis=-1)[..., -self.k][..., None]
        scores = logits / self.temperature + inputs[1]
        return xp.argmax(xp.where(logits >= least, scores, -float("inf")), axis=-1)

    def torch(self, w: SimpleNamespace) -> Call:
        import torch

        if self.method == "greedy":
            return lambda logits: torch.argmax(logits, -1)

        def top_k(logits: Any, noise: Any) -> Any:
            values, ids = torch.topk(logits, self.k, sorted=False)
            choice = torch.argmax(values / self.temperature + noise.gather(-1, ids), -1, keepdim=True)
            return ids.gather(-1, choice).squeeze(-1)

        return top_k

    def mlx(self, w: SimpleNamespace) -> Call:
        import mlx.core as mx

        if self.method == "greedy":
            return lambda logits: mx.argmax(logits, axis=-1)

        def top_k(logits: Any, noise: Any) -> Any:
            # to mask all but the largest takes a tenth less time than to gather the largest (H200)
            kth = self.vocab_size - self.k
            least = mx.partition(logits, kth, axis=-1)[..., kth, None]
            return mx.argmax(mx.where(logits >= least, logits / self.temperature + noise, -mx.inf), axis=-1)

        return top_k

    exact = True
