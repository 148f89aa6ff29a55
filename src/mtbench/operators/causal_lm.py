"""A whole language model, as the libraries' own users run it: transformers on torch, mlx-lm on MLX."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models import gguf, greedy, kept_references
from mtbench.language_models import llama_cpp as llama
from mtbench.language_models import mlx as mlx_lm
from mtbench.language_models import openai_server as server
from mtbench.language_models import torch as transformers
from mtbench.language_models.checkpoint import ROWS_AT_ONCE, Held, drawn
from mtbench.language_models.config import LanguageModel, parse
from mtbench.language_models.definition import Read, last_logits
from mtbench.language_models.given import Given, config_text, given
from mtbench.operators.base import INDEX_BYTES, ITEM_BYTES, Call, Host, Operator, Shape, Size
from mtbench.reference import array_namespace

NO_MODEL = "causal_lm runs a whole model; choose one, such as model=smollm2_135m."

NEW_TOKENS = 32
"""How many tokens phase=generate makes, where operator.params.new_tokens does not say."""

USUAL_GROUP = 64
"""How many weights share a scale in MLX. In llama.cpp 32 do, in torchao a whole row."""

SCORES_HELD = 3
"""Arrays of the scores' size that the reference's attention holds at its peak: scores, their exponentials, and weights."""


@dataclass(frozen=True)
class CausalLM(Operator):
    """A forward pass of a decoder-only language model with a cache of keys and values, or all the passes of a whole text.

    prefill: `shape.seq_len` prompt tokens through an empty cache, or one that holds `shape.kv_len` other tokens before them.
    tokens: (batch, seq) -> logits of the last position (batch, vocab). Its latency is the time to the first token.

    decode: one token through a cache that holds `shape.kv_len` tokens. token: (batch, 1) -> logits (batch, vocab). Its latency
    is the time of a token.

    A cache's keys and values, (batch, layers, kv_heads, kv_len, head_dim), are further inputs. They are drawn, keys as if
    rotated: the time does not depend on their values. The first call with a context puts it into the library's own cache. Each
    call appends its tokens behind the same kv_len positions: the cache's length is set back, and nothing is copied.

    generate: `shape.seq_len` prompt tokens, then `new_tokens` ones, each the likeliest, without an early end, by the library's
    own loop. tokens: (batch, seq) -> tokens (batch, new). Greedy texts of two correct models may differ where two tokens are
    nearly equally likely. So each text is checked against the definition's logits for that very text: 1 + (largest logit -
    logit of the chosen token) / (root mean square of the logits) is compared with 1. A server (openai_server) gives text and no
    tokens, so nothing is checked; each call sends prompts of its own, and `config` may be left out.

    transformers: the model with SDPA and a `DynamicCache`, its default; compiled, one graph with a `StaticCache`, of a
    multiple of 64 positions behind a context. mlx-lm: the model with its own caches; compiled, they are explicit state. Both
    read the same weights, which are drawn once for a configuration and a seed, or a local checkpoint's. The first call includes
    whatever the libraries load then. `config` is a published config.json, by its file's name or as text; `model=...` fills it
    in. `checkpoint` is a folder with config.json and model*.safetensors, or a GGUF file. A folder that mlx-lm has quantised
    runs in mlx-lm only, a GGUF file in llama.cpp only, and both are checked with the weights that they hold.

    `weight_dtype` is that of the stored weights; None: the cell's dtype, which everything else has. int8 and int4 are each
    library's own quantisation: mlx-lm's affine one of linear layers and embeddings, torchao's weight-only one of linear layers,
    llama.cpp's Q8_0 and Q4_0 of all matrices. Each is checked against the reference with the weights that it made. `group_size`
    weights share a scale; None: as many as the library chooses.

    FLOPs: 2 per matrix weight and token, the output projection of the last position alone, and attention over the pairs
    that see each other. Bytes: the weights once, quantised ones with a scale of 16 bits a group; of the embedding table only
    the rows that are looked up, unless it is the output projection too; and what is read and written of the cache.
    """

    config: str | None = None
    phase: Literal["prefill", "decode", "generate"] = "prefill"
    checkpoint: str | None = None
    weight_dtype: Literal["bf16", "int8", "int4"] | None = None
    group_size: Literal[32, 64, 128] | None = None
    new_tokens: Size | None = None

    uses_kv_len = True
    own_forms_only = True
    kept_inputs = ("keys", "values")
    counts_tokens = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.has_model and self.phase != "generate":
            raise ConfigError(f"{NO_MODEL} Only a server brings its own, for operator.params.phase=generate.")
        if self.given is not None and self.config is not None and parse(self.config) != self.given.model:
            raise ConfigError(f"operator.params.checkpoint={self.checkpoint} is of another model than the chosen one.")
        if self.given is not None and self.given.matrix_bytes is not None and self.weight_dtype is not None:
            raise ConfigError(
                f"operator.params.checkpoint={self.checkpoint} is stored in a number format of its own; leave weight_dtype out."
            )
        if self.new_tokens is not None and self.phase != "generate":
            raise ConfigError(
                f"phase={self.phase} generates no text; leave operator.params.new_tokens out, or use phase=generate."
            )
        self.has_model and self.model  # noqa: B018  raises where there is no such model

    @property
    def has_model(self) -> bool:
        """Whether it is known which model is run. Of a server's own model only the name is known."""
        return self.config is not None or self.checkpoint is not None

    def check_library(self, library: str) -> None:
        if not self.has_model and library != "openai_server":
            raise ConfigError(NO_MODEL)

    @classmethod
    def written_out(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """With a config.json's text in place of its name, or its folder's."""
        config = params.get("config")
        return dict(params) | ({"config": config_text(config)} if isinstance(config, str) else {})

    @property
    def bits(self) -> int | None:
        """Of a quantised weight; None where weights are not quantised."""
        return {"int8": 8, "int4": 4}.get(self.weight_dtype or "")

    @property
    def quantises(self) -> bool:  # type: ignore[override]
        return self.bits is not None and self.phase != "generate"  # which has no logits

    @property
    def has_trained_weights(self) -> bool:  # type: ignore[override]
        return self.given is not None

    @property
    def computes_in_dtype(self) -> bool:  # type: ignore[override]
        return self.bits is None and (self.given is None or self.given.matrix_bytes is None)

    @cached_property
    def given(self) -> Given | None:
        """The user's own weights."""
        return None if self.checkpoint is None else given(self.checkpoint)

    @cached_property
    def model(self) -> LanguageModel:
        if self.config is not None:
            return parse(self.config)
        if self.given is None:
            raise ConfigError(NO_MODEL)
        return self.given.model

    @property
    def gives_first_token(self) -> bool:  # type: ignore[override]
        return self.phase == "prefill"

    @property
    def made(self) -> int:
        """How many tokens a call makes of each sequence."""
        return (self.new_tokens or NEW_TOKENS) if self.phase == "generate" else 0

    def tokens(self, shape: Shape) -> int:
        return shape.batch_size * (self.made or shape.seq_len)

    def check(self, shape: Shape) -> None:
        super().check(shape)
        if self.phase == "generate" and shape.kv_len is not None:
            raise ConfigError(
                "generate starts with an empty cache; leave shape.kv_len out, or use phase=prefill or decode."
            )
        if self.phase == "decode" and shape.seq_len != 1:
            raise ConfigError(f"decode takes one token; give shape.seq_len=1, not {shape.seq_len}.")
        if self.phase == "decode" and shape.kv_len is None:
            raise ConfigError("decode goes through a cache that holds other tokens; give shape.kv_len, such as 128.")

    def inputs(self, rng: np.random.Generator, shape: Shape) -> dict[str, Host]:
        vocabulary = self.model.vocab_size if self.has_model else 1
        tokens = rng.integers(vocabulary, size=(shape.batch_size, shape.seq_len))
        if shape.kv_len is None:
            return {"tokens": tokens}
        return {"tokens": tokens} | {name: rng.standard_normal(self._cached(shape)) for name in self.kept_inputs}

    def _cached(self, shape: Shape) -> tuple[int, ...]:
        model = self.model
        return (shape.batch_size, len(model.layers), model.num_kv_heads, self._context(shape), model.head_dim)

    def _context(self, shape: Shape) -> int:
        return 0 if shape.kv_len is None else shape.kv_len

    def weights(self, rng: np.random.Generator) -> dict[str, Host]:
        """What a form needs to load the weights itself, which would be gigabytes here: the dtype and the device, by example,
        and the seed of those that are drawn."""
        return {"like": np.ones(1), "seed": rng.integers(2**31, size=1)}

    def stored(self, seed: int) -> Any:
        """The weights on disk: a Checkpoint, or an object that reads like one. Where the user gave none, they are drawn."""
        if self.given is not None:
            return self.given.stored()
        assert self.config is not None
        tensors = {name: (shape, *self.model.spread(name, shape)) for name, shape in self.model.tensors().items()}
        return drawn(json.loads(self.config), tensors, seed)

    def flops(self, shape: Shape) -> float:
        return sum(self.model.flops(one.batch_size, one.seq_len, self._context(one)) for one in self._passes(shape))

    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        return sum(self._bytes_of_pass(one, dtype) for one in self._passes(shape))

    def touched_bytes(self, shape: Shape, dtype: str) -> float:
        return max((self._bytes_of_pass(one, dtype) for one in self._passes(shape)), default=0.0)

    def _passes(self, shape: Shape) -> list[Shape]:
        """The forward passes of a call: one; for a text, the prompt's and each token's but the last; none for a server."""
        if not self.has_model:
            return []
        return [shape, *(Shape(shape.batch_size, 1, shape.seq_len + made) for made in range(self.made - 1))]

    def _bytes_of_pass(self, shape: Shape, dtype: str) -> float:
        model, tokens = self.model, shape.batch_size * shape.seq_len
        looked_up = 0 if model.tied else tokens * model.embed_dim
        unread = 0 if model.tied else model.vocab_size * model.embed_dim  # the table that rows are looked up in
        weights = self.weight_bytes(dtype) - unread * self._matrix_bytes(dtype)
        context = self._context(shape)
        read = sum(model.held(layer, context) for layer in model.layers)
        written = sum(model.held(layer, shape.seq_len) for layer in model.layers)
        cache = 2 * shape.batch_size * model.num_kv_heads * model.head_dim * (read + written)
        numbers = cache + shape.batch_size * model.vocab_size
        weights += looked_up * self._matrix_bytes(dtype)
        return float(weights + numbers * ITEM_BYTES[dtype] + tokens * INDEX_BYTES)

    def weight_bytes(self, dtype: str) -> float:
        sizes = self.model.tensors().values()
        matrices = sum(int(np.prod(size)) for size in sizes if len(size) > 1)
        vectors = sum(int(np.prod(size)) for size in sizes if len(size) == 1)
        return matrices * self._matrix_bytes(dtype) + float(vectors * ITEM_BYTES[dtype])

    def _matrix_bytes(self, dtype: str) -> float:
        """Bytes of one weight of a matrix, with its share of a scale."""
        if self.given is not None and self.given.matrix_bytes is not None:
            return self.given.matrix_bytes
        if self.bits is None:
            return float(ITEM_BYTES[dtype])
        return (self.bits + 16 / (self.group_size or USUAL_GROUP)) / 8

    def host_bytes(self, shape: Shape) -> float:
        cache = 2 * int(np.prod(self._cached(shape)))
        return float(ITEM_BYTES["float64"] * (cache + shape.batch_size * self.model.vocab_size))

    def reference_bytes(self, shape: Shape) -> float:
        model = self.model
        layer = sum(int(np.prod(size)) for size in model.layer_tensors(0).values())
        table = min(ROWS_AT_ONCE, model.vocab_size) * model.embed_dim
        keys = self._context(shape) + shape.seq_len + self.made
        work = (
            shape.batch_size * (shape.seq_len + self.made) * (3 * model.mlp_dim + SCORES_HELD * model.num_heads * keys)
        )
        logits = 2 * shape.batch_size * self.made * model.vocab_size
        return float(ITEM_BYTES["float64"] * (max(layer, table) + work + logits))

    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        """The definition, which serves as the reference alone. It reads the weights layer by layer, and its logits are kept
        on disk, since several arms and restarts ask for the same.

        A text has no reference but the logits of the tokens made: this gives placeholders, and `compared` does the rest.
        """
        if self.phase == "generate":
            vars(self)["reference_weights"] = w
            return np.full((inputs[0].shape[0], self.made), greedy.NO_TOKEN)
        tokens, *cache = inputs

        def logits(read: Read, output: str | None) -> Host:
            return np.asarray(last_logits(xp, self.model, read, tokens, tuple(cache) or None, ROWS_AT_ONCE, output))

        return self._kept(w, list(inputs), logits)

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        if self.phase != "generate":
            return outputs
        (made,), (prompts,) = outputs, inputs
        if (made == greedy.NO_TOKEN).all():
            return [np.ones(made.shape)]

        def regrets(read: Read, output: str | None) -> Host:
            return greedy.regrets(array_namespace(), self.model, read, prompts, made, ROWS_AT_ONCE, output)

        return [1 + self._kept(vars(self)["reference_weights"], [prompts, made], regrets)]

    def _kept(self, w: SimpleNamespace, inputs: list[Host], compute: Callable[[Read, str | None], Host]) -> Host:
        """What `compute` gives for these inputs and weights, or gave before."""
        return kept_references.of(self.stored(int(w.seed[0])), getattr(w, "held", None), self.model, inputs, compute)

    def _call(self, library: Any, model: Any) -> Call:
        """The call of this phase, from one of the libraries' modules."""
        call: Call
        if self.phase == "generate":
            call = library.Generate(model, self.made)
        else:
            call = library.Forward(model, step=self.phase == "decode")
        return call

    def torch(self, w: SimpleNamespace) -> Call:
        stored = self._checked("torch", int(w.seed), str(w.like.dtype))
        model = transformers.load(stored.folder, w.like)
        if self.bits is not None:
            transformers.quantise(model, self.bits, self.group_size)
        call = self._call(transformers, model)
        return call if self.bits is None else _holding(call, transformers.held(model, stored))

    def mlx(self, w: SimpleNamespace) -> Call:
        stored = self._checked("mlx", int(w.seed.item()), str(w.like.dtype))
        model = mlx_lm.load(stored.folder, w.like)
        if self.bits is not None:
            mlx_lm.quantise(model, self.bits, self.group_size)
        call = self._call(mlx_lm, model)
        packed = self.bits is not None or (self.given is not None and self.given.kind == "mlx")
        return _holding(call, mlx_lm.held(model, stored)) if packed else call

    def llama_cpp(self, w: SimpleNamespace) -> Call:
        dtype = w.like.stands_for
        stored = self._checked("llama_cpp", int(w.seed[0]), dtype)
        if self.given is not None and self.given.kind == "gguf":
            return self._call(llama, llama.Loaded(self.given.path, self.model, w.like))
        if self.bits is not None and dtype != "bfloat16":
            raise Unsupported(
                "llama.cpp rounds the inputs of quantised products to 8 bits, more than "
                f"dtype={dtype} allows; use bfloat16."
            )
        if self.group_size not in (None, gguf.BLOCK):
            raise Unsupported(f"llama.cpp's Q8_0 and Q4_0 have groups of {gguf.BLOCK}, and no others.")
        file = gguf.write(stored, self.model, gguf.NUMBER_TYPES[dtype if self.bits is None else f"int{self.bits}"])
        loaded = llama.Loaded(file, self.model, w.like)
        call = self._call(llama, loaded)
        return call if self.bits is None else _holding(call, Held(file.parent.name, gguf.read(file, self.model)))

    def openai_server(self, w: SimpleNamespace) -> Call:
        if self.phase != "generate":
            raise Unsupported(f"A server gives whole texts, no phase={self.phase}: use operator.params.phase=generate.")
        return self._call(server, w.like.setup)

    def _checked(self, library: str, seed: int, dtype: str) -> Any:
        """The stored weights. Raises Unsupported where the library does not read them, or they are asked for in a dtype that is
        not the cell's."""
        if self.given is not None:
            self.given.check(library)
        if self.weight_dtype == "bf16" and "bfloat16" not in dtype:
            raise Unsupported(
                "weight_dtype=bf16 goes with dtype=bfloat16; leave it out (null) for the weights in another dtype."
            )
        return self.stored(seed)


def _holding(call: Any, held: Held) -> Call:
    """A call that says which weights it computes with."""
    call.own_weights = {"held": held}
    holding: Call = call
    return holding
