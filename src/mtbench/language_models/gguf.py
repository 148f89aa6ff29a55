"""A language model's weights as llama.cpp reads them: GGUF, written once from a checkpoint, in one of its number formats.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; names of tensors and keys are those of the `gguf`
package, and tensors are changed as by llama.cpp's own convert_hf_to_gguf.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench import paths, plain
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models.checkpoint import ROWS_AT_ONCE, Checkpoint, kept
from mtbench.language_models.config import LLAMA3, PLAIN, LanguageModel, Layer, Rope

FILE = "model.gguf"

FORMAT = 1
"""Version of our files. It is raised when what is written changes, so that no old file in the cache is used."""

ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "smollm3": "smollm3", "gemma3_text": "gemma3",
}  # fmt: skip
"""GGUF's names of architectures, by transformers' names."""

KINDS = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "smollm3": "smollm3", "gemma3": "gemma3_text"}
"""Transformers' names, by GGUF's; Mistral's are Llama's."""

GEMMA_PATTERN = 6
"""One layer in this many of gemma3 uses full attention, where a file does not say (src/models/gemma3.cpp)."""

PERMUTED = ("llama", "smollm3")
"""GGUF's architectures whose rotary embedding turns neighbouring features, so that rows of queries and keys are reordered."""

NOPE_STEP = 4
"""llama.cpp's smollm3 has no rotary embedding in one layer of this many (src/models/smollm3.cpp), whatever a file says."""

BLOCK = 32
"""Neighbours of a row that share a scale in Q8_0 and Q4_0 (ggml-common.h)."""

NUMBER_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
"""GGUF's formats by the names of dtypes and of quantised weights."""

Host = NDArray[Any]


def write(stored: Checkpoint, model: LanguageModel, kind: str) -> Path:
    """The GGUF file of a checkpoint in the cache folder, written if it is not there. Matrices are in the format `kind`
    (NUMBER_TYPES), vectors in float32, as llama.cpp requires. Raises Unsupported where llama.cpp has no such model."""
    _refuse(model, kind)
    name = plain.fingerprint([stored.identity, str(model), kind, FORMAT], 16)
    folder = paths.cache() / "models" / f"gguf-{kind.lower()}-{name}"
    return kept(folder, lambda building: _write(building / FILE, stored, model, kind)) / FILE


def read(file: Path, model: LanguageModel) -> "Read":
    """The tensors of a GGUF file, under the names that they have in a checkpoint."""
    return Read(file, model)


class Read:
    """Reads a GGUF file's tensors, which llama.cpp computes with: dequantised, in float64, rows in a checkpoint's order."""

    def __init__(self, file: Path, model: LanguageModel) -> None:
        gguf = package()
        self._model, self._gguf = model, gguf
        self._tensors = {each.name: each for each in gguf.GGUFReader(file).tensors}
        self._names = _names(gguf, model)
        self._file = file

    @property
    def identity(self) -> str:
        """A fingerprint that changes when the file changes."""
        stat = self._file.stat()
        return plain.fingerprint([str(self._file), stat.st_size, stat.st_mtime_ns])

    def read(self, name: str, rows: Any = slice(None)) -> Host:
        return self(name, rows)

    def __call__(self, name: str, rows: Any = slice(None)) -> Host:
        tensor = self._tensors[self._names[name]]
        changed = _heads(self._model, name) is not None
        stored = tensor.data if changed else tensor.data[rows]
        values = self._gguf.quants.dequantize(
            np.ascontiguousarray(stored.reshape(-1, stored.shape[-1])), tensor.tensor_type
        )
        values = values.reshape(*stored.shape[:-1], -1).astype(np.float64)
        return np.asarray(_original(self._model, name, values))


def model_of(file: Path) -> tuple[LanguageModel, float]:
    """The model that a GGUF file's keys describe, and the average bytes of a weight of its matrices. Raises ConfigError where
    the model is not supported."""
    try:
        reader = package().GGUFReader(file)
        said = {name: field.contents() for name, field in reader.fields.items()}
        kind = KINDS[said["general.architecture"]]
        shapes = {each.name: (tuple(map(int, reversed(each.shape))), each) for each in reader.tensors}
        model = _model_of(
            kind, said, {name: shape for name, (shape, _) in shapes.items()}, shapes.get("rope_freqs.weight")
        )
    except Unsupported as lacking:
        raise ConfigError(str(lacking)) from None
    except KeyError as missing:
        raise ConfigError(f"{file.name} holds a model that is not supported: {missing.args[0]}.") from None
    except ValueError as error:
        raise ConfigError(f"{file.name} is no GGUF file: {error}.") from None
    matrices = [each for shape, each in shapes.values() if len(shape) == 2]
    return model, sum(int(each.n_bytes) for each in matrices) / sum(int(each.n_elements) for each in matrices)


def _model_of(kind: str, said: dict[str, Any], shapes: dict[str, tuple[int, ...]], factors: Any) -> LanguageModel:
    architecture = said["general.architecture"]

    def key(name: str, default: Any = None) -> Any:
        found = said.get(f"{architecture}.{name}", default)
        if found is None:
            raise KeyError(f"{architecture}.{name}")
        return found

    heads, width, count = key("attention.head_count"), key("embedding_length"), key("block_count")
    size = int(key("attention.key_length", width // heads))
    scaled = None if factors is None else tuple(float(each) for each in factors[1].data)
    rope = Rope(key("rope.freq_base", 10000.0), PLAIN if scaled is None else LLAMA3, factors=scaled)
    layers = [Layer(rope, None)] * count
    if kind == "smollm3":
        layers = [Layer(None, None) if (i + 1) % NOPE_STEP == 0 else each for i, each in enumerate(layers)]
    if kind == "gemma3_text":
        windowed = Layer(Rope(key("rope.freq_base_swa", 10000.0)), int(key("attention.sliding_window")))
        pattern = key("attention.sliding_window_pattern", GEMMA_PATTERN)
        layers = [windowed if (i + 1) % pattern else each for i, each in enumerate(layers)]
    return LanguageModel(
        kind=kind, embed_dim=width, mlp_dim=key("feed_forward_length"), num_heads=heads,
        num_kv_heads=key("attention.head_count_kv", heads), head_dim=size, vocab_size=shapes["token_embd.weight"][0],
        eps=float(key("attention.layer_norm_rms_epsilon")), activation="gelu_tanh" if kind == "gemma3_text" else "silu",
        attention_bias=False, tied="output.weight" not in shapes, score_scale=size**-0.5, layers=tuple(layers),
    )  # fmt: skip


def package() -> Any:
    """The gguf package. Raises Unsupported where it is missing."""
    try:
        import gguf
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise Unsupported("gguf is not installed; install it with: pip install 'mtbench[llama_cpp]'") from None
    return gguf


def permuted(model: LanguageModel, values: Host, axis: int) -> Host:
    """Features of whole heads along an axis, reordered as llama.cpp keeps them for this model."""
    if ARCHITECTURES[model.kind] not in PERMUTED:
        return values
    shape = values.shape
    split = values.reshape(*shape[:axis], -1, 2, model.head_dim // 2, *shape[axis + 1 :])
    return np.asarray(split.swapaxes(axis + 1, axis + 2)).reshape(shape)


def _refuse(model: LanguageModel, kind: str) -> None:
    ropes = [layer.rope is not None for layer in model.layers]
    if model.kind == "smollm3" and ropes != [(i + 1) % NOPE_STEP != 0 for i in range(len(ropes))]:
        raise Unsupported(
            f"llama.cpp's smollm3 has no rotary embedding in one layer of {NOPE_STEP}; in this model other layers lack it."
        )
    if model.is_gemma and not np.isclose(model.score_scale, model.head_dim**-0.5):
        raise Unsupported("llama.cpp's gemma3 scales scores by head_dim^-0.5, and this model by another number.")
    for name, shape in model.tensors().items():
        if kind.startswith("Q") and len(shape) == 2 and shape[-1] % BLOCK:
            raise Unsupported(f"{kind} quantises rows in blocks of {BLOCK}, and {name} has rows of {shape[-1]}.")


def _names(gguf: Any, model: LanguageModel) -> dict[str, str]:
    """GGUF's names of tensors by a checkpoint's."""
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == ARCHITECTURES[model.kind])
    known = gguf.get_tensor_name_map(architecture, len(model.layers))
    return {name: known.get_name(name, try_suffixes=(".weight", ".bias")) for name in model.tensors()}


def _heads(model: LanguageModel, name: str) -> int | None:
    """How many heads a tensor's rows belong to, if llama.cpp keeps these rows in another order; else None."""
    if ARCHITECTURES[model.kind] not in PERMUTED:
        return None
    return {"q_proj": model.num_heads, "k_proj": model.num_kv_heads}.get(name.split(".")[-2])


def _changed(model: LanguageModel, name: str, values: Host) -> Host:
    """A tensor as llama.cpp keeps it: rows in its order, and norms of Gemma, which scale by 1 + w, with the 1 added."""
    if _heads(model, name) is not None:
        return permuted(model, values, 0)
    return values + 1 if model.is_gemma and name.endswith("norm.weight") else values


def _original(model: LanguageModel, name: str, values: Host) -> Host:
    """The inverse of `_changed`."""
    if _heads(model, name) is not None:
        split = values.reshape(-1, model.head_dim // 2, 2, *values.shape[1:])
        return split.swapaxes(1, 2).reshape(values.shape)
    return values - 1 if model.is_gemma and name.endswith("norm.weight") else values


def _parts(stored: Checkpoint, model: LanguageModel, name: str) -> Iterator[Host]:
    """A tensor in parts of some rows each: a whole vocabulary in float64 would be gigabytes."""
    shape = model.tensors()[name]
    if len(shape) == 1 or _heads(model, name) is not None:
        yield _changed(model, name, stored.read(name))
        return
    for start in range(0, shape[0], ROWS_AT_ONCE):
        yield stored.read(name, slice(start, start + ROWS_AT_ONCE))


def _write(file: Path, stored: Checkpoint, model: LanguageModel, kind: str) -> None:
    gguf = package()
    writer = gguf.GGUFWriter(file, ARCHITECTURES[model.kind])
    _describe(
        writer, model, json.loads((stored.folder / "config.json").read_text()), gguf.LlamaFileType[_file_type(kind)]
    )
    names, matrix = _names(gguf, model), gguf.GGMLQuantizationType[kind]
    factors = _rope_factors(model)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for name, shape in model.tensors().items():
        if len(shape) == 1:
            writer.add_tensor_info(names[name], shape, np.dtype(np.float32), 4 * shape[0])
        else:
            packed = gguf.quants.quant_shape_to_byte_shape(shape, matrix)
            writer.add_tensor_info(names[name], packed, np.dtype(np.uint8), int(np.prod(packed)), raw_dtype=matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for name, shape in model.tensors().items():
        kind_here = matrix if len(shape) == 2 else gguf.GGMLQuantizationType.F32
        parts = [gguf.quants.quantize(part.astype(np.float32), kind_here) for part in _parts(stored, model, name)]
        writer.write_tensor_data(np.concatenate(parts).view(np.uint8 if len(shape) == 2 else np.float32))
    writer.close()


def _file_type(kind: str) -> str:
    return "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"


def _describe(writer: Any, model: LanguageModel, config: dict[str, Any], file_type: Any) -> None:
    """Writes the keys from which llama.cpp builds the model."""
    rope = model.layer.rope if not model.is_gemma else next(each.rope for each in model.layers if each.window is None)
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(model.vocab_size)
    writer.add_context_length(int(config.get("max_position_embeddings") or 2048))
    writer.add_embedding_length(model.embed_dim)
    writer.add_block_count(len(model.layers))
    writer.add_feed_forward_length(model.mlp_dim)
    writer.add_head_count(model.num_heads)
    writer.add_head_count_kv(model.num_kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(model.eps)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(float(rope.theta if rope else 1.0))
    if model.is_gemma:
        windows = [layer.window is not None for layer in model.layers]
        windowed = model.layer
        writer.add_sliding_window(windowed.window)
        writer.add_sliding_window_pattern(windows.index(False) + 1 if False in windows else 0)
        writer.add_float32(f"{writer.arch}.rope.freq_base_swa", float(windowed.rope.theta if windowed.rope else 1.0))


def _rope_factors(model: LanguageModel) -> Host | None:
    """The tensor of factors by which Llama 3's scaling divides the frequencies; None without scaling."""
    rope = model.layer.rope
    if rope is None or rope.scaling == "default":
        return None
    unscaled = rope.theta ** (-np.arange(0, model.head_dim, 2) / model.head_dim)
    return np.asarray(unscaled / rope.frequencies(model.head_dim), dtype=np.float32)
