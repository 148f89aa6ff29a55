"""llama.cpp's models and contexts, through llama-cpp-python's bindings of its C functions (llama.h)."""

import ctypes
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.language_models import gguf
from mtbench.language_models.config import LanguageModel

ROOM = 256
"""llama.cpp pads a context to a multiple of this many positions (llama-context.cpp)."""

BATCH, UBATCH = 2048, 512
"""By default, the most tokens that a call takes, and the most that it computes at a time (llama-context.cpp). A longer prompt
raises the first only."""

STATE_MAGIC = 0xAF143CD8
"""The number with which the state of a sequence begins (llama-context.cpp, io_magic)."""

CACHE_TYPES: dict[str, tuple[int, Any]] = {
    "float32": (0, np.float32),
    "float16": (1, np.float16),
    "bfloat16": (1, np.float16),
}
"""ggml's type of cached keys and values, and NumPy's, by dtype. float16 is llama.cpp's default, and holds bfloat16's values of
usual size; for float32 it would round too much."""

Host = NDArray[Any]


class Loaded:
    """A model in llama.cpp's memory, on the device of `like`. The memory is freed with this object."""

    def __init__(self, file: Path, model: LanguageModel, like: Any) -> None:
        from llama_cpp import llama_cpp as llama

        self.llama, self.model, self.setup, self.dtype, self.like = llama, model, like.setup, like.stands_for, like
        if model.is_gemma and self.dtype == "float32" and self.setup.gpu is None:
            raise Unsupported(
                "llama.cpp's GELU on the CPU is a table of float16 (ggml-cpu/vec.h), so in float32 Gemma's logits are not the "
                "model's; use bfloat16 or float16."
            )
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0 if self.setup.gpu is None else len(model.layers) + 1
        params.split_mode, params.main_gpu = 0, self.setup.gpu or 0  # none: one GPU has it all
        self._no_devices = (ctypes.c_void_p * 1)(None)
        if self.setup.gpu is None:
            params.devices = ctypes.cast(self._no_devices, ctypes.c_void_p)
        self.pointer = llama.llama_model_load_from_file(str(file).encode(), params)
        if not self.pointer:
            raise RuntimeError(f"llama.cpp could not load {file}")

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.llama.llama_model_free(self.pointer)


class Context:
    """`batch` sequences of one model side by side, each with a cache of its own for `positions` positions.

    `take` computes tokens, one row for each sequence, from position `start` on. It gives the logits of each sequence's last
    token, (batch, vocab), in the context's own memory, which the next call overwrites.
    """

    def __init__(self, loaded: Loaded, batch: int, positions: int, tokens: int) -> None:
        llama, setup = loaded.llama, loaded.setup
        self.loaded, self.llama, self.count = loaded, llama, batch
        self.cache_type, self.cache_dtype = CACHE_TYPES[loaded.dtype]
        params = llama.llama_context_default_params()
        params.n_ctx = batch * -(-positions // ROOM) * ROOM
        params.n_seq_max = batch
        params.n_batch, params.n_ubatch = max(BATCH, batch * tokens), setup.ubatch_size or UBATCH
        params.n_threads = params.n_threads_batch = setup.threads
        params.flash_attn_type = self._flash_attention(setup.flash_attention)
        params.type_k = params.type_v = self.cache_type
        params.offload_kqv = params.op_offload = setup.gpu is not None
        params.swa_full = (
            False  # as in llama.cpp's own programs: the cache of a layer with a window holds the window only
        )
        params.no_perf = True
        self.pointer = llama.llama_init_from_model(loaded.pointer, params)
        if not self.pointer:
            raise MemoryError(f"llama.cpp could not make a context of {params.n_ctx} positions")
        self.memory = llama.llama_get_memory(self.pointer)
        self._batches: dict[int, Batch] = {}
        self._logits: tuple[int, Any] = (0, None)

    def _flash_attention(self, asked: int | None) -> int:
        """llama.cpp's default, but off in float32: flash attention rounds keys and values to float16, so that a small model's
        logits were off by 1e-4, and by 1e-7 without it."""
        if asked is None and self.loaded.dtype == "float32":
            return int(self.llama.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        return int(self.llama.LLAMA_FLASH_ATTN_TYPE_AUTO) if asked is None else asked

    def take(self, tokens: Host, start: int) -> Any:
        llama, count = self.llama, tokens.shape[1]
        if count not in self._batches:
            self._batches[count] = Batch(llama, self.count, count)
        batch = self._batches[count]
        batch.tokens[:] = tokens
        batch.positions[:] = np.arange(start, start + count)
        status = llama.llama_decode(self.pointer, batch.pointer)
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}")
        llama.llama_synchronize(self.pointer)
        return self.logits()

    def logits(self) -> Any:
        pointer = self.llama.llama_get_logits(self.pointer)
        address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
        if address != self._logits[0]:
            shape = (self.count, self.loaded.model.vocab_size)
            self._logits = (address, np.ctypeslib.as_array(pointer, shape).view(type(self.loaded.like)))
        return self._logits[1]

    def sample(self, sampler: Any, count: int) -> list[int]:
        """The next token of each sequence, after `take` of `count` tokens each."""
        sample = self.llama.llama_sampler_sample
        return [sample(sampler, self.pointer, (sequence + 1) * count - 1) for sequence in range(self.count)]

    def clear(self) -> None:
        self.llama.llama_memory_clear(self.memory, False)

    def set_back(self, length: int) -> None:
        """Drops all positions from this one on."""
        for sequence in range(self.count):
            self.llama.llama_memory_seq_rm(self.memory, sequence, length, -1)

    def check_setting_back(self, tokens: int) -> None:
        """Raises Unsupported where `tokens` new tokens would overwrite the context in the cache of a layer with a window. That
        cache has room for the window and as many tokens as are computed at a time (llama-kv-cache-iswa.cpp)."""
        at_a_time = self.loaded.setup.ubatch_size or UBATCH
        if tokens > at_a_time and any(layer.window is not None for layer in self.loaded.model.layers):
            raise Unsupported(
                f"In layers with a window, llama.cpp's cache drops the context after {at_a_time} more tokens, so a call could "
                f"not be repeated; set framework.settings.ubatch_size={tokens}."
            )

    def hold(self, keys: Host, values: Host) -> None:
        """Puts a context into the cache: (batch, layers, kv_heads, positions, head_dim) each, keys as if rotated.

        llama.cpp's only function for this restores a sequence from a saved state, whose format may change between versions.
        """
        model = self.loaded.model
        for sequence in range(self.count):
            rows = [
                np.ascontiguousarray(each[sequence].transpose(0, 2, 1, 3)).astype(
                    self.cache_dtype
                )  # a position's heads
                for each in (gguf.permuted(model, keys, keys.ndim - 1), values)
            ]
            for transposed in (False, True):  # values, where attention is not in one kernel
                state = self._state(rows[0], rows[1], sequence, transposed)
                buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
                if self.llama.llama_state_seq_set_data(self.pointer, buffer, len(state), sequence) == len(state):
                    break
            else:
                raise Unsupported(
                    "this version of llama.cpp stores its cache in another format than llama-cpp-python 0.3.36, "
                    "which this mtbench supports"
                )

    def _state(self, keys: Host, values: Host, sequence: int, transposed: bool) -> bytes:
        """A sequence's state, as llama_state_seq_get_data writes it: the cache of the layers without a window, then that of the
        layers with one, if there are any, with the positions that the next token sees."""
        layers, length = self.loaded.model.layers, keys.shape[1]
        kinds: Sequence[Sequence[int]] = [[i for i, each in enumerate(layers) if each.window is None]]
        windowed = [i for i, each in enumerate(layers) if each.window is not None]
        if windowed:
            kinds = [*kinds, windowed]
        state = struct.pack("<Ii", STATE_MAGIC, sequence)
        for members in kinds:
            window = layers[members[0]].window if members else None
            first = 0 if window is None else max(0, length - window + 1)
            state += self._cells(keys[members, first:], values[members, first:], first, sequence, transposed)
        return state

    def _cells(self, keys: Host, values: Host, first: int, sequence: int, transposed: bool) -> bytes:
        """One cache (llama-kv-cache.cpp, state_write): for each stream its cells, their positions, and the layers' keys and
        values."""
        layers, length = keys.shape[:2]
        own = b"".join(struct.pack("<iIi", position, 1, sequence) for position in range(first, first + length))
        own += struct.pack("<II", transposed, layers)
        flat = keys.reshape(layers, length, -1)
        for layer in flat:
            own += struct.pack("<iQ", self.cache_type, layer[0].nbytes) + layer.tobytes()
        for layer in values.reshape(layers, length, -1):
            if transposed:
                own += struct.pack("<iII", self.cache_type, layer.itemsize, layer.shape[1]) + layer.T.tobytes()
            else:
                own += struct.pack("<iQ", self.cache_type, layer[0].nbytes) + layer.tobytes()
        empty = struct.pack("<I", 0)
        streams = [empty] * self.count
        streams[sequence] = struct.pack("<I", length) + own
        return struct.pack("<I", self.count) + b"".join(streams)

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.llama.llama_free(self.pointer)


class Batch:
    """A batch of `count` tokens of each sequence, the last of which gives logits. Only tokens and positions change between
    calls."""

    def __init__(self, llama: Any, batch: int, count: int) -> None:
        self._llama, size = llama, batch * count
        self.pointer = llama.llama_batch_init(size, 0, 1)
        self.pointer.n_tokens = size
        self.tokens = np.ctypeslib.as_array(self.pointer.token, (size,)).reshape(batch, count)
        self.positions = np.ctypeslib.as_array(self.pointer.pos, (size,)).reshape(batch, count)
        wanted = np.ctypeslib.as_array(self.pointer.logits, (size,)).reshape(batch, count)
        wanted[:] = 0
        wanted[:, -1] = 1
        for index in range(size):
            self.pointer.n_seq_id[index] = 1
            self.pointer.seq_id[index][0] = index // count

    def __del__(self) -> None:
        self._llama.llama_batch_free(self.pointer)


class Forward:
    """tokens -> logits of the last position, through a cache that is emptied in each call; or tokens, keys, values -> the same
    through a cache with these keys and values, which is set back to their length. `step` is not used here."""

    def __init__(self, loaded: Loaded, step: bool) -> None:
        self._loaded = loaded
        self._states: dict[Any, tuple[Any, ...]] = {}

    def __call__(self, tokens: Any, *held: Any) -> Any:
        context, length = self._state(tokens, *held), held[0].shape[3] if held else 0
        if not held:
            context.clear()
            return context.take(tokens, 0)
        logits = context.take(tokens, length)
        context.set_back(length)
        return logits

    def _state(self, tokens: Any, *held: Any) -> Context:
        """The context of these inputs. The arrays are kept beside it, so that no other array can get one of their ids."""
        known = (tokens.shape, *map(id, held))
        if known not in self._states:
            batch, count = tokens.shape
            length = held[0].shape[3] if held else 0
            context = Context(self._loaded, batch, length + count, count)
            if held:
                context.check_setting_back(count)
                context.hold(*(np.asarray(each) for each in held))
            self._states[known] = (context, held)
        made: Context = self._states[known][0]
        return made


class Generate:
    """tokens -> the tokens that follow, (batch, new), by llama.cpp's own greedy sampler: the loop of its examples/simple.

    `stamps` holds, for each call, when each token was there: nanoseconds since it began.
    """

    def __init__(self, loaded: Loaded, new_tokens: int) -> None:
        self._loaded, self._new = loaded, new_tokens
        self._contexts: dict[tuple[int, ...], Context] = {}
        self._sampler = loaded.llama.llama_sampler_init_greedy()
        self.stamps: list[list[int]] = []

    def __call__(self, tokens: Any) -> Any:
        started, stamps = time.perf_counter_ns(), []
        batch, count = tokens.shape
        if tokens.shape not in self._contexts:
            self._contexts[tokens.shape] = Context(self._loaded, batch, count + self._new, count)
        context = self._contexts[tokens.shape]
        context.clear()
        made = np.empty((batch, self._new), np.int32)
        taken, position = np.asarray(tokens), 0
        for number in range(self._new):
            context.take(taken, position)
            position += taken.shape[1]
            made[:, number] = context.sample(self._sampler, taken.shape[1])
            stamps.append(time.perf_counter_ns() - started)
            taken = made[:, number : number + 1]
        self.stamps.append(stamps)
        return made.view(type(self._loaded.like))

    def __del__(self) -> None:
        if getattr(self, "_sampler", None):
            self._loaded.llama.llama_sampler_free(self._sampler)
