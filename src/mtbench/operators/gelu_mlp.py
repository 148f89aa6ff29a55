"""MLP with GELU, as in GPT-2 and BERT."""

from dataclasses import dataclass
from typing import Literal

from mtbench.operators._mlp import Mlp


@dataclass(frozen=True)
class GeluMlp(Mlp):
    """linear2(gelu(linear1(x))), `mlp_dim` wide inside, which is 4 embed_dim where it is not given.

    x: (batch, seq, embed) -> (batch, seq, embed); linear1.weight: (mlp, embed), linear2.weight: (embed, mlp), each with a
    `bias` or without. `activation`: gelu (exact, as in BERT) or gelu_tanh (as in GPT-2). It is composed of `linear` and
    `gelu`, in each library's form of them. Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805; the MLP itself:
    section 3.3 of Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    activation: Literal["gelu", "gelu_tanh"] = "gelu"
