"""llama.cpp, through llama-cpp-python's bindings of its C functions: whole language models, on the devices that it was built
for."""

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks._host_arrays import HostArray, HostArrays
from mtbench.frameworks.base import Call, Description, Settings, process_peak_kind, refuse
from mtbench.reference import array_namespace

INSTALL = "pip install 'mtbench[llama_cpp]' (it is compiled, which takes a C++ compiler and some minutes)"

GPU_DEVICES = (1, 2)
"""GPUs among ggml's kinds of devices (ggml-backend.h, ggml_backend_dev_type): those with memory of their own, and integrated
ones."""

FLASH_ATTENTION = {"auto": -1, "disabled": 0, "enabled": 1}
"""llama.h, llama_flash_attn_type; llama-bench's -fa, by words that YAML does not take for true and false."""


@dataclass(frozen=True)
class Setup:
    """How models and contexts are to be made: `gpu` is the number of a GPU, or None for the CPU."""

    threads: int
    gpu: int | None
    flash_attention: int | None  # None: not set
    ubatch_size: int | None  # the most tokens that are computed at a time


class LlamaCpp(HostArrays):
    """llama.cpp's own models. It has no arrays of its own: tokens go in and logits come out in the host's memory.

    A call ends with llama_synchronize, as a loop that chooses the next token must, so that nothing is queued.
    """

    library = "llama_cpp"
    array_type = HostArray
    own_settings = ("flash_attention", "ubatch_size")
    own_forms_only = "only whole models: operator=causal_lm"
    measures_peaks = False
    static_outputs = True  # logits lie in the context's buffer, which the next call writes into

    def __init__(self, settings: Settings) -> None:
        try:
            from llama_cpp import llama_cpp
        except ModuleNotFoundError as error:
            if error.name != "llama_cpp":
                raise
            raise Unsupported(f"llama-cpp-python is not installed; install it with: {INSTALL}") from None
        own = dict(settings.own)
        if settings.matmul_precision == "tf32":
            raise Unsupported(
                "llama.cpp has no setting for the precision of products; leave matmul_precision at highest."
            )
        self.llama = llama_cpp
        _silence(llama_cpp)
        llama_cpp.llama_backend_init()
        gpus = _gpus(llama_cpp)
        if settings.device == "gpu" and not gpus:
            raise Unsupported(
                "llama.cpp sees no GPU here. It may have been built for the CPU only; for a GPU, build "
                "llama-cpp-python with CMAKE_ARGS=-DGGML_CUDA=on (NVIDIA) or -DGGML_METAL=on (Mac)."
            )
        on_gpu = bool(gpus) and settings.device != "cpu"
        refuse(settings, "llama.cpp", threads=True, gpus=len(gpus) if on_gpu else 0)
        attention = own.get("flash_attention")
        if attention is not None and attention not in FLASH_ATTENTION:
            raise Unsupported(
                f"framework.settings.flash_attention={attention} cannot be set; llama.cpp has {', '.join(FLASH_ATTENTION)}."
            )
        self.device_name = gpus[settings.device_index or 0] if on_gpu else "cpu"
        self.setup = Setup(
            threads=settings.threads or math_threads(),
            gpu=(settings.device_index or 0) if on_gpu else None,
            flash_attention=None if attention is None else FLASH_ATTENTION[attention],
            ubatch_size=own.get("ubatch_size"),
        )
        self.xp: SimpleNamespace = array_namespace()
        self.wait = self.submit

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        return HostArray.of(host, dtype, self.setup)

    def compile(self, call: Call, **usual: Any) -> Call:
        raise Unsupported("llama.cpp has no compiler; its kernels were compiled when it was built.")

    def null(self) -> Call:
        out = self.array(np.full(1, 2.0), "float32")

        def call() -> Any:
            self.llama.llama_time_us()
            return out

        return call

    def describe(self) -> Description:
        llama = self.llama
        return Description(
            library="llama_cpp",
            version=version("llama-cpp-python"),
            device="cpu" if self.setup.gpu is None else "gpu",
            device_kind=_kind(self.device_name),
            device_name=self.device_name,
            threads=self.setup.threads,
            blas="ggml's own",
            peak_kind=process_peak_kind() + ("" if self.setup.gpu is None else ", without the GPU's own memory"),
            details={
                "llama.cpp": llama.llama_version().decode() if hasattr(llama, "llama_version") else "not told",
                "system_info": llama.llama_print_system_info().decode().strip(),
            },
        )


def math_threads() -> int:
    """As many threads as llama.cpp's own programs take: one for each physical core, on a Mac for each fast one only
    (common.cpp, cpu_get_num_math), but no more than this process may use."""
    system: str = sys.platform  # compared directly, the rest is unreachable to mypy on the other system
    if system == "darwin":
        for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            said = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False).stdout
            if said.strip().isdigit():
                return int(said)
        return os.cpu_count() or 1
    usable = getattr(os, "sched_getaffinity")(0)  # noqa: B009  mypy does not see this function for macOS
    siblings = set()
    for cpu in usable:
        file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings")
        siblings.add(file.read_text() if file.exists() else str(cpu))
    return max(1, len(siblings))


def _silence(llama_cpp: Any) -> None:
    """Silences llama.cpp, which logs every tensor that it loads. The callback must live as long as llama.cpp does."""
    global _log
    _log = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))


_log: Any = None


def _gpus(llama_cpp: Any) -> list[str]:
    """The names of the GPUs that this build sees, such as CUDA0 or Metal."""
    ggml = llama_cpp._lib  # which finds the functions of the libraries that it was linked to
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_type.argtypes = ggml.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_name.restype = ctypes.c_char_p
    devices = [ggml.ggml_backend_dev_get(number) for number in range(ggml.ggml_backend_dev_count())]
    return [
        ggml.ggml_backend_dev_name(each).decode() for each in devices if ggml.ggml_backend_dev_type(each) in GPU_DEVICES
    ]


def _kind(name: str) -> str:
    """The programming interface, by a device's name: CUDA0, ROCm0, MTL0 or Metal, Vulkan0."""
    for start, kind in (("cuda", "cuda"), ("rocm", "rocm"), ("mtl", "metal"), ("metal", "metal")):
        if name.lower().startswith(start):
            return kind
    return "cpu" if name == "cpu" else name.rstrip("0123456789").lower()
