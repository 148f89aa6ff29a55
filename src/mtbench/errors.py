"""The errors that are not defects: a wrong request, what this machine cannot do, and another program that failed."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

SAID_OTHERWISE = {
    # operators
    "attention": ("sdpa", "mha", "gqa"), "self_attention": ("mha", "sdpa"), "multi_head_attention": ("mha",),
    "multihead_attention": ("mha",), "scaled_dot_product_attention": ("sdpa",), "flash_attention": ("sdpa",),
    "mqa": ("gqa",), "grouped_query_attention": ("gqa",), "gemm": ("matmul",), "mm": ("matmul",), "bmm": ("matmul",),
    "dense": ("linear",), "fc": ("linear",), "mlp": ("swiglu_mlp", "gelu_mlp"), "ffn": ("swiglu_mlp", "gelu_mlp"),
    "feed_forward": ("swiglu_mlp", "gelu_mlp"), "moe": ("moe_mlp",), "mixture_of_experts": ("moe_mlp",),
    "swish": ("silu",), "layernorm": ("layer_norm",), "rmsnorm": ("rms_norm",), "rotary": ("rope",),
    "rotary_embedding": ("rope",), "kv_cache": ("kv_cache_update",), "bce": ("binary_cross_entropy",),
    "conv": ("conv1d", "conv2d"), "transformer": ("llama_block", "transformer_encoder_layer"),
    "encoder": ("transformer_encoder_layer",), "decoder": ("transformer_decoder_layer",), "llm": ("causal_lm",),
    "language_model": ("causal_lm",), "qlinear": ("quantized_linear",),
    # frameworks
    "pytorch": ("torch",), "torch.compile": ("torch_compiled",), "inductor": ("torch_compiled",),
    "cudagraphs": ("torch_graphs",), "cuda_graphs": ("torch_graphs",), "np": ("numpy",), "mx": ("mlx",), "xla": ("jax",),
    "llama.cpp": ("llama_cpp",), "llamacpp": ("llama_cpp",), "ggml": ("llama_cpp",),
    # devices and dtypes
    "cuda": ("gpu",), "mps": ("gpu",), "metal": ("gpu",), "nvidia": ("gpu",), "fp32": ("float32",), "f32": ("float32",),
    "float": ("float32",), "fp16": ("float16",), "f16": ("float16",), "half": ("float16",), "bf16": ("bfloat16",),
    # settings
    "op": ("operator",), "ops": ("operator",), "lib": ("framework",), "library": ("framework",),
    "backend": ("framework", "device"), "runtime": ("framework",), "type": ("dtype",), "datatype": ("dtype",),
    "precision": ("dtype", "matmul_precision"), "config": ("model",), "batch": ("shape.batch_size",),
    "bs": ("shape.batch_size",), "seq": ("shape.seq_len",), "sequence_length": ("shape.seq_len",),
    "length": ("shape.seq_len",), "context": ("shape.kv_len",), "heads": ("operator.params.num_heads",),
    "dim": ("operator.params.embed_dim",), "hidden_size": ("operator.params.embed_dim",),
    "variant": ("operator.variant",), "repeats": ("protocol.restarts",), "runs": ("protocol.restarts",),
}  # fmt: skip
"""Names that others use for ours, which spelling does not find."""

ALIKE, NEARLY = 0.75, 0.5
"""How alike a misspelt name is to the one that was meant, at least: among all names, and among those that are listed."""


class ConfigError(Exception):
    """The user asked for something that cannot be measured; the message says what is wrong and what to do."""


class Unsupported(Exception):
    """An arm is not possible on this machine (no such GPU, library or dtype); the message says why and what would help."""


class ServerFailed(Exception):
    """Another program that was asked to do the work did not: `status` is that of the record (crashed, timeout, failed), and the
    message says in a line what it did instead."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def unknown(kind: str, name: str, known: Iterable[str], more: Iterable[str] = ()) -> str:
    """One line for a misspelt name: what was asked for, the nearest known names, and all known names. `more` are names that may
    have been meant and are too many to be listed."""
    names = sorted(known, key=lambda each: (int(each) if each.isdecimal() else 0, each))
    found = meant(name, names, more)
    quoted = [f"'{each}'" for each in found]
    listed = " or ".join([*([", ".join(quoted[:-1])] if quoted[1:] else []), *quoted[-1:]])
    suggestion = f" Did you mean {listed}?" if found else ""
    return f"No {kind} '{name}'.{suggestion} Known: {', '.join(names)}."


def meant(name: str, known: Iterable[str], more: Iterable[str] = ()) -> Sequence[str]:
    """The names that one may have meant, whatever its case: what others call so, the names that are or end so behind a dot
    (`seq_len`: `shape.seq_len`), else the one that is spelt most alike."""
    listed = list(known)
    names = list(dict.fromkeys([*listed, *more]))
    if others := [each for each in SAID_OTHERWISE.get(_folded(name), ()) if each in names]:
        return others
    pool: dict[str, list[str]] = {}
    for each in names:
        pool.setdefault(_folded(each.rpartition(".")[2]), []).append(each)
    pool |= {_folded(each): [each] for each in names}
    if near := get_close_matches(_folded(name), pool, n=1, cutoff=ALIKE):
        return pool[near[0]]
    by_name = {_folded(each): each for each in listed}
    return [by_name[each] for each in get_close_matches(_folded(name), by_name, n=1, cutoff=NEARLY)]


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
