"""Hugging Face's transformers: its model, and its caches of keys and values."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mtbench.errors import Unsupported
from mtbench.language_models.checkpoint import Checkpoint, Held

Call = Callable[..., Any]

INT4_GROUP = 128
"""The default of torchao's Int4WeightOnlyConfig."""

ROOM = 64
"""A static cache has a multiple of this many positions: attention's kernels work on aligned blocks."""


def load(folder: Path, like: Any) -> Any:
    """The model, with `like`'s dtype and on its device."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise Unsupported("transformers is not installed; install it with: pip install 'mtbench[lm]'") from None
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=like.dtype, attn_implementation="sdpa", local_files_only=True
    )
    return model.to(like.device).eval().requires_grad_(False)


def quantise(model: Any, bits: int, group_size: int | None) -> None:
    """Quantises all linear layers by torchao's weight-only quantisation; embeddings stay as they are. Raises Unsupported where
    torchao has no kernel."""
    try:
        from torchao import quantization
    except ModuleNotFoundError as error:
        if error.name != "torchao":
            raise
        raise Unsupported("torchao is not installed; install it with: pip install 'mtbench[lm]'") from None
    device = model.device.type
    if bits == 8 and group_size is not None:
        raise Unsupported("torchao's int8 has one scale for each row; leave operator.params.group_size out (null).")
    if bits == 4 and device != "cuda":
        raise Unsupported(f"torchao {version('torchao')} has no int4 kernel for {device}; it has one for CUDA.")
    if bits == 8:
        config = quantization.Int8WeightOnlyConfig()
    else:  # torch's own kernel, which needs no further package
        config = quantization.Int4WeightOnlyConfig(
            group_size=group_size or INT4_GROUP, int4_packing_format="tile_packed_to_4d"
        )
    quantization.quantize_(model, config)


def held(model: Any, stored: Checkpoint) -> Held:
    """The weights that a quantised model computes with: for int8, scale times code from its arrays; for int4, as torchao
    dequantises."""
    modules = dict(model.named_modules())

    def read(name: str, rows: Any = slice(None)) -> Any:
        weight: Any = getattr(modules.get(name.removesuffix(".weight")), "weight", None)
        if hasattr(weight, "qdata") and hasattr(weight, "scale"):
            codes, scale = (each.cpu().double().numpy() for each in (weight.qdata[rows], weight.scale[rows]))
            return codes * scale
        if hasattr(weight, "qdata"):
            return weight.dequantize()[rows].cpu().double().numpy()
        return stored.read(name, rows)

    weight = model.lm_head.weight
    how = f"{type(weight).__name__} of {weight.block_size} in {weight.dtype} on {model.device}"
    return Held(f"torchao {version('torchao')}: {how}", read, output="lm_head.weight")


class Forward:
    """tokens -> logits of the last position, through a cache that is new in each call; or tokens, keys, values -> the same
    through a cache with these keys and values, which stays as it is. `step`: the call is one step of generating a text."""

    def __init__(self, model: Any, step: bool) -> None:
        self._model, self._step = model, step
        self._states: dict[Any, tuple[Any, ...]] = {}

    def __call__(self, tokens: Any, *context: Any) -> Any:
        cache = None
        if context:
            cache, held = self._state(self._dynamic_cache, tokens, context)
            for layer, (layer_keys, layer_values) in zip(cache.layers, held, strict=True):
                layer.keys, layer.values = layer_keys, layer_values  # appending makes new arrays
                if layer.is_sliding:
                    layer.cumulative_length = context[0].shape[3]
        return self._logits(tokens, cache)

    def compiled(self, compile_call: Callable[[Call], Call]) -> Call:
        from transformers import StaticCache

        def static(tokens: Any, length: int, *arrays: Any) -> Any:
            return self._logits(tokens, _static_cache(StaticCache, self._model, arrays, length, tokens.shape[1]))

        call = compile_call(static, **(_as_generate(self._model) if self._step else {}))

        def forward(tokens: Any, *context: Any) -> Any:
            length = context[0].shape[3] if context else 0
            return call(tokens, length, *self._state(self._static_arrays, tokens, context))

        return forward

    def _logits(self, tokens: Any, cache: Any) -> Any:
        return self._model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def _state(self, make: Callable[..., Any], tokens: Any, context: tuple[Any, ...]) -> Any:
        """What `make` made for a context. The context's arrays are kept beside it, so that no other array can get one of their
        ids."""
        known = (tokens.shape, *map(id, context))
        if known not in self._states:
            self._states[known] = (make(tokens, *context), context)
        return self._states[known][0]

    def _dynamic_cache(self, tokens: Any, keys: Any, values: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        held = []
        for index, layer in enumerate(cache.layers):
            layer.lazy_initialization(keys[:, index], values[:, index])
            start = max(0, keys.shape[3] - layer.sliding_window + 1) if layer.is_sliding else 0
            held.append(tuple(each[:, index, :, start:].contiguous() for each in (keys, values)))
        return cache, held

    def _static_arrays(self, tokens: Any, *context: Any) -> list[Any]:
        batch, count = tokens.shape
        if not context:
            return _empty_layers(self._model, batch, count)
        keys, values = context
        length = keys.shape[3]
        arrays = _empty_layers(self._model, batch, -(-(length + count) // ROOM) * ROOM)
        for index, layer_keys in enumerate(arrays[::2]):
            held = min(length, layer_keys.shape[2])  # a full window's oldest is dropped when a token comes in
            layer_keys[:, :, :held] = keys[:, index, :, length - held :]
            arrays[2 * index + 1][:, :, :held] = values[:, index, :, length - held :]
        return arrays


class Generate:
    """tokens -> the tokens that follow, (batch, new), by transformers' `generate`, greedily and without an early end.

    `stamps` holds, for each call, when its streamer was given each token: nanoseconds since it began.
    """

    def __init__(self, model: Any, new_tokens: int, **settings: Any) -> None:
        self._model, self._new, self._settings = model, new_tokens, settings
        model.generation_config.eos_token_id = None
        self.stamps: list[list[int]] = []

    def __call__(self, tokens: Any) -> Any:
        stamps = Stamps()
        made = self._model.generate(
            tokens, max_new_tokens=self._new, do_sample=False, pad_token_id=0, streamer=stamps, **self._settings
        )
        self.stamps.append(stamps.taken[1:])  # the prompt comes first
        return made[:, tokens.shape[1] :]

    def compiled(self, compile_call: Callable[[Call], Call]) -> Call:
        """With a static cache, for which `generate` compiles its steps by itself; on a CPU it does not."""
        if self._model.device.type != "cuda":
            raise Unsupported("transformers' generate compiles its steps on CUDA only; use framework=torch here.")
        return Generate(self._model, self._new, cache_implementation="static")


class Stamps:
    """A streamer, as `generate` takes one, that notes when it is given tokens."""

    def __init__(self) -> None:
        self.started = time.perf_counter_ns()
        self.taken: list[int] = []

    def put(self, value: Any) -> None:
        self.taken.append(time.perf_counter_ns() - self.started)

    def end(self) -> None:
        """Part of a streamer; nothing to do."""


def _empty_layers(model: Any, batch: int, length: int) -> list[Any]:
    """Keys and values of each layer of a static cache, in turn."""
    import torch
    from transformers import StaticCache

    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    lengths = [layer.max_cache_len for layer in StaticCache(config=config, max_cache_len=length).layers]
    like = model.get_input_embeddings().weight
    arrays = [like.new_zeros(batch, config.num_key_value_heads, each, size) for each in lengths for _ in range(2)]
    for array in arrays:  # as StaticCache does: otherwise CUDA graphs would copy these arrays and write into the copies
        torch._dynamo.mark_static_address(array)
    return arrays


def _as_generate(model: Any) -> dict[str, Any]:
    """The settings with which transformers' `generate` itself compiles a step with a static cache: on CUDA, with CUDA graphs.
    It does not compile the pass over a prompt, since prompts differ in length (transformers 5: `_valid_auto_compile_criteria`,
    `get_compiled_call`)."""
    from transformers import CompileConfig

    return dict(CompileConfig().to_dict()) if model.device.type == "cuda" else {}


def _static_cache(kind: Any, model: Any, arrays: tuple[Any, ...], context: int, count: int) -> Any:
    """transformers' own static cache over these arrays, at a context's end, for `count` tokens. It is made within the compiled
    graph, so that the arrays are the graph's inputs and the cache's length is a constant: nothing has to be set back after a
    call. `kind` is transformers' class, which is not imported here: an import from transformers breaks the graph (torch 2.11),
    and then the length is an input that no CUDA graph may change.
    """
    import torch

    cache = kind(config=model.config, max_cache_len=max(each.shape[2] for each in arrays))
    for layer, keys, values in zip(cache.layers, arrays[::2], arrays[1::2], strict=True):
        if layer.is_sliding:
            layer.cumulative_length_int = context
            if (
                context and context + count > layer.max_cache_len
            ):  # the call shifts the arrays, and must not change ours
                keys, values = keys.clone(), values.clone()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device = keys.dtype, keys.device
        layer.cumulative_length = torch.full((), context, dtype=torch.long, device=keys.device)
        layer.is_initialized = True
    return cache
