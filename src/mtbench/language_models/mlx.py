"""mlx-lm: its model, and its caches of keys and values."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mtbench.errors import Unsupported
from mtbench.language_models.checkpoint import Checkpoint, Held
from mtbench.language_models.config import flat

Call = Callable[..., Any]


def load(folder: Path, like: Any) -> Any:
    """The model, with `like`'s dtype."""
    try:
        from mlx_lm.utils import load_model
    except ModuleNotFoundError as error:
        if error.name != "mlx_lm":
            raise
        raise Unsupported("mlx-lm is not installed; install it with: pip install 'mtbench[lm]'") from None
    import mlx.core as mx

    config = flat(json.loads((folder / "config.json").read_text()))
    model, _ = load_model(folder, lazy=True, model_config=config)
    if config["model_type"] == "gemma3_text" and like.dtype == mx.float32:
        scale = config["hidden_size"] ** 0.5
        rounded = mx.array(scale, mx.bfloat16).item()
        if rounded != scale:
            raise Unsupported(
                f"mlx-lm rounds the scale of Gemma's embeddings to bfloat16 ({rounded:g} for {scale:.4g}), so in float32 its "
                "logits are not the model's; use bfloat16 or float16."
            )
    model.set_dtype(like.dtype)
    model.eval()
    mx.eval(model.parameters())
    return model


def quantise(model: Any, bits: int, group_size: int | None) -> None:
    """Quantises as `mlx_lm.convert --quantize` does, embeddings too; the group size is its default, 64, where none is given."""
    import mlx.core as mx
    from mlx_lm.utils import quantize_model

    quantize_model(model, {}, group_size, bits)
    mx.eval(model.parameters())


def held(model: Any, stored: Checkpoint) -> Held:
    """What a quantised model computes with: scale code + bias in each group, from the arrays that it holds."""
    import mlx.core as mx

    modules = dict(model.named_modules())

    def read(name: str, rows: Any = slice(None)) -> Any:
        module = modules.get(name.removesuffix(".weight"))
        return stored.read(name, rows) if getattr(module, "scales", None) is None else _dequantised(module, rows)

    one = next((each for each in modules.values() if getattr(each, "scales", None) is not None), None)
    how = (
        "not quantised" if one is None else f"{one.bits} bits in groups of {one.group_size}, scales {one.scales.dtype}"
    )
    return Held(f"mlx {version('mlx')} on {mx.default_device()}: {how}", read)


def _dequantised(module: Any, rows: Any) -> Any:
    """In float64: MLX packs codes into words of 32 bits, the first one lowest (mlx.core.quantize, mode affine)."""
    import mlx.core as mx

    if module.mode != "affine":
        raise Unsupported(f"weights quantised in mode {module.mode} have no reference here; only mode affine has.")
    packed = np.array(module.weight, copy=False)[rows]
    per_word = 32 // module.bits
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(module.bits)
    codes = (packed[..., None] >> shifts) & np.uint32(2**module.bits - 1)
    codes = codes.reshape(*packed.shape[:-1], -1, module.group_size)
    scales, biases = (np.array(each.astype(mx.float32), copy=False)[rows] for each in (module.scales, module.biases))
    values = scales[..., None].astype(np.float64) * codes + biases[..., None].astype(np.float64)
    return values.reshape(*packed.shape[:-1], -1)


def _logits(model: Any, tokens: Any, cache: Any) -> Any:
    """The logits of the last position only; mlx-lm's own call would multiply all positions by the vocabulary."""
    last = model.model(tokens, cache=cache)[:, -1]
    args = model.args
    tied = model.tie_word_embeddings if hasattr(model, "tie_word_embeddings") else args.tie_word_embeddings
    return model.model.embed_tokens.as_linear(last) if tied else model.lm_head(last)


def _new_cache(model: Any) -> Any:
    from mlx_lm.models.cache import make_prompt_cache

    return make_prompt_cache(model)


class Forward:
    """tokens -> logits of the last position, through a cache that is new in each call; or tokens, keys, values -> the same
    through a cache with these keys and values, which is set back to their length.

    Appending overwrites the positions behind the context. One token in a full window overwrites the oldest position, which it
    does not see. Either way the next call can use the arrays that a call leaves. Several tokens in a window make new arrays, so
    the original ones are kept. `step` is not used: mlx-lm has no compiler of its own.
    """

    def __init__(self, model: Any, step: bool) -> None:
        self._model = model
        self._states: dict[Any, tuple[Any, ...]] = {}

    def __call__(self, tokens: Any, *context: Any) -> Any:
        if not context:
            return _logits(self._model, tokens, _new_cache(self._model))
        cache, kept = self._state(tokens, *context)
        logits = _logits(self._model, tokens, cache)
        for layer, arrays in zip(cache, kept, strict=True):
            _set_back(layer, context[0].shape[3], arrays)
        return logits

    def compiled(self, compile_call: Callable[[Call], Call]) -> Call:
        def pure(tokens: Any, length: int, *arrays: Any) -> Any:
            cache = _new_cache(self._model)
            for layer, layer_keys, layer_values in zip(cache, arrays[::2], arrays[1::2], strict=True):
                _set_back(layer, length, (layer_keys, layer_values))
            logits = _logits(self._model, tokens, cache)
            changed = [layer for layer in cache if not _makes_new(layer, tokens.shape[1])]
            return logits, *(array for layer in changed for array in (layer.keys, layer.values))

        alone, behind = (compile_call(each) for each in (lambda tokens: self(tokens), pure))

        def call(tokens: Any, *context: Any) -> Any:
            if not context:
                return alone(tokens)
            cache, kept = self._state(tokens, *context)
            arrays = [array for layer in cache for array in (layer.keys, layer.values)]
            changed = [layer for layer, held in zip(cache, kept, strict=True) if held is None]
            for layer in changed:
                layer.keys = layer.values = None  # so that the step may write into them
            logits, *arrays = behind(tokens, context[0].shape[3], *arrays)
            for layer, layer_keys, layer_values in zip(changed, arrays[::2], arrays[1::2], strict=True):
                layer.keys, layer.values = layer_keys, layer_values
            return logits

        return call

    def _state(self, tokens: Any, keys: Any, values: Any) -> Any:
        """The cache of a context, and what must be put back into each layer after a call. The context's arrays are kept beside
        it, so that no other array can get one of their ids."""
        import mlx.core as mx

        known = (tokens.shape, id(keys), id(values))
        if known not in self._states:
            cache, count, kept = _new_cache(self._model), tokens.shape[1], []
            for index, layer in enumerate(cache):
                arrays = [_with_room(layer, each[:, index], count) for each in (keys, values)]
                _set_back(layer, keys.shape[3], arrays)
                kept.append(arrays if _makes_new(layer, count) else None)
            mx.eval([(layer.keys, layer.values) for layer in cache])
            self._states[known] = ((cache, kept), keys, values)
        return self._states[known][0]


class Generate:
    """tokens -> the tokens that follow, (batch, new), by mlx-lm's own loops, which take the likeliest where no sampler is
    given: `generate_step` for one sequence, and its batch generator for several.

    These loops start each token before it is asked for, so they start one more than they give. This one is waited for here,
    since the next prompt would have to wait for it. `stamps` holds, for each call, when each token was there, of the slowest
    sequence: nanoseconds since it began.
    """

    def __init__(self, model: Any, new_tokens: int) -> None:
        from mlx_lm import generate

        self._model, self._new, self._library = model, new_tokens, sys.modules[generate.__module__]
        self.stamps: list[list[int]] = []

    def __call__(self, tokens: Any) -> Any:
        import mlx.core as mx

        started, stamps, columns = time.perf_counter_ns(), [], []
        for column in self._one(tokens[0]) if tokens.shape[0] == 1 else self._several(tokens.tolist()):
            columns.append(column)
            stamps.append(time.perf_counter_ns() - started)
        mx.synchronize(self._library.generation_stream)
        self.stamps.append(stamps)
        return mx.array(columns).T

    def _one(self, tokens: Any) -> Iterator[list[int]]:
        for token, _ in self._library.generate_step(tokens, self._model, max_tokens=self._new):
            yield [int(token)]

    def _several(self, prompts: list[list[int]]) -> Iterator[list[int]]:
        generator = self._library.BatchGenerator(
            self._model, max_tokens=self._new, prefill_batch_size=len(prompts), completion_batch_size=len(prompts)
        )
        waiting: dict[int, list[int]] = {name: [] for name in generator.insert(prompts)}
        while responses := generator.next_generated():
            for response in responses:
                waiting[response.uid].append(response.token)
            while all(waiting.values()):
                yield [made.pop(0) for made in waiting.values()]
        generator.close()

    def compiled(self, compile_call: Callable[[Call], Call]) -> Call:
        raise Unsupported("mlx-lm's loop does not compile its model; use framework=mlx.")


def _makes_new(layer: Any, count: int) -> bool:
    """Whether a cache makes new arrays to append `count` tokens, and does not write into those that it has."""
    return count > 1 and hasattr(layer, "max_size")


def _with_room(layer: Any, held: Any, count: int) -> Any:
    """A layer's keys or values, with room for `count` more tokens: in steps, as the cache itself grows, up to its window."""
    import mlx.core as mx

    length, window = held.shape[2], getattr(layer, "max_size", None)
    if window is not None and length >= window:
        return mx.contiguous(held[:, :, length - window :])
    if _makes_new(layer, count):
        return mx.contiguous(held)
    room = -(-(length + count) // layer.step) * layer.step
    room = room if window is None else min(room, window)
    return mx.concatenate([held, mx.zeros((*held.shape[:2], room - length, held.shape[3]), held.dtype)], axis=2)


def _set_back(layer: Any, context: int, arrays: Any = None) -> None:
    """Sets a layer's cache back to a context's length, and to these arrays if any."""
    if arrays is not None:
        layer.keys, layer.values = arrays
    layer.offset = context
    if hasattr(layer, "max_size"):
        layer._idx = min(context, layer.max_size)
