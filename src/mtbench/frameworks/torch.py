"""PyTorch: on the CPU, on CUDA and on MPS (Apple's Metal), eager or through torch.compile."""

import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks import _blas
from mtbench.frameworks import _compiler as compiler
from mtbench.frameworks.base import (
    Call,
    Description,
    Framework,
    Settings,
    leaves,
    process_peak_bytes,
    process_peak_kind,
    process_peak_reset,
    refuse,
)

DEVICE_CALLS = 30

GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""The modes of torch.compile that replay CUDA graphs (torch._inductor.list_mode_options); the option is GRAPHS."""

GRAPHS = "triton.cudagraphs"


class Torch(Framework):
    """PyTorch in inference mode, without autocast."""

    library = "torch"
    compiler_has_settings = True
    compiles_for_minutes = True

    def __init__(self, settings: Settings) -> None:
        # One process compiles; torch would otherwise keep a pool of helper processes alive while blocks are timed.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        try:
            import torch
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise Unsupported("PyTorch is not installed; install it with: pip install torch") from None
        self.torch = torch
        self.kind = _device_kind(torch, settings.device)
        if self.kind == "mps" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
            raise Unsupported(
                "PYTORCH_ENABLE_MPS_FALLBACK=1 silently runs operators on the CPU instead of the GPU; unset it."
            )
        if self.kind == "mps" and settings.matmul_precision == "tf32":
            raise Unsupported(
                "MPS has no TF32: torch multiplies float32 there in float32, whatever is asked for; "
                "leave matmul_precision at highest."
            )
        refuse(settings, f"torch on {self.kind}", compiler=True, threads=True, gpus=_gpus(torch, self.kind))
        self.device = torch.device(self.kind)
        if settings.device_index is not None:
            self.device = torch.device(self.kind, settings.device_index)
            if self.kind == "cuda":
                torch.cuda.set_device(self.device)  # for all calls that name no device, such as waiting
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.compile_settings = settings.compile.given
        self._skipped_before = 0
        # "high" is TensorFloat-32 where the hardware has it: torch.set_float32_matmul_precision.
        torch.set_float32_matmul_precision("high" if settings.matmul_precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = settings.matmul_precision == "tf32"
        # Until this process ends; the worker is single-threaded and the mode is per thread.
        torch.inference_mode().__enter__()
        self.xp = _namespace(self.device)
        self.wait = {"cpu": _computed_on_return, "cuda": self._wait_cuda, "mps": self._wait_mps}[self.kind]

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        kind = getattr(self.torch, dtype) if np.issubdtype(host.dtype, np.floating) else None
        array = self.torch.tensor(host, dtype=kind).to(self.device)  # in this order, since MPS has no float64
        self.synchronize()
        return array

    def host(self, out: Any) -> NDArray[np.float64]:
        values: NDArray[np.float64] = out.detach().cpu().double().numpy()
        return values

    def leaves(self, out: Any) -> list[Any]:
        return leaves(out, self.torch.Tensor)

    def adopt(self, call: Call, dtype: str) -> Call:
        if isinstance(call, self.torch.nn.Module):
            call.to(self.device, getattr(self.torch, dtype)).eval()
        return call

    def copy(self, array: Any) -> Any:
        copied = array.clone()
        self.synchronize()
        return copied

    def overwrite(self, array: Any, values: Any) -> Any:
        array.copy_(values)
        self.synchronize()
        return array

    def stored_whole(self, array: Any) -> bool:
        return bool(array.untyped_storage().nbytes() >= array.numel() * array.element_size())

    @classmethod
    def keep_compiled_in(cls, folder: Path) -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")

    def compile(self, call: Call, **usual: Any) -> Call:
        """torch.compile, by default in its default mode, with one graph for each shape.

        Tensors that the call holds are marked as static, as the compiler marks a module's parameters: otherwise CUDA graphs
        would copy weights in each call. Inputs are copied into the graph's memory, as for any user who passes new ones.
        """
        if self.kind == "cpu" and not compiler.cxx_compiler():
            raise Unsupported(f"torch.compile on the CPU needs a C++ compiler; {compiler.HOW}, or set CXX.")
        if self.kind == "cpu" and not Path(sysconfig.get_path("include"), "Python.h").exists():
            raise Unsupported(
                "torch.compile on the CPU needs Python's headers; on Debian: apt-get install python3-dev."
            )
        told = {"dynamic": False} | {name: value for name, value in usual.items() if value is not None}
        told |= self.compile_settings
        if {"options", "backend"} & self.compile_settings.keys() and "mode" not in self.compile_settings:
            told.pop("mode", None)  # torch takes options or a mode, and most backends take none
        self.compiled_with = told
        self.static_outputs = self.kind == "cuda" and _replays_graphs(told)
        if self.static_outputs:
            self._skipped_before = self._skipped_graphs()
            for tensor in _held_tensors(self.torch, call):
                self.torch._dynamo.mark_static_address(tensor)
        try:
            compiled: Call = self.torch.compile(call, **told)
        except (RuntimeError, ValueError, TypeError) as error:
            said = str(error).strip().splitlines()[0]
            raise Unsupported(f"torch.compile does not take framework.compile={told}: {said}") from error
        return compiled

    def caveats(self) -> list[str]:
        if not _replays_graphs(self.compiled_with):
            return []
        if self.kind != "cuda":
            return [f"compiled without CUDA graphs, which were asked for: {self.kind} has none"]
        skipped = self._skipped_graphs() - self._skipped_before
        return [f"torch skipped {skipped} CUDA graphs, TORCH_LOGS=perf_hints says why"] if skipped else []

    def _skipped_graphs(self) -> int:
        return int(self.torch._dynamo.utils.counters["inductor"]["cudagraph_skips"])

    def _wait_cuda(self, out: Any) -> None:
        self.torch.cuda.synchronize()

    def _wait_mps(self, out: Any) -> None:
        self.torch.mps.synchronize()

    def synchronize(self) -> None:
        if self.kind == "cuda":
            self.torch.cuda.synchronize()
        elif self.kind == "mps":
            self.torch.mps.synchronize()

    def same(self, one: Any, other: Any) -> bool:
        return bool(one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())

    def device_ns(self, call: Call, inputs: Sequence[Any], calls: int) -> float | None:
        if self.kind != "cuda":
            return None  # torch.mps has events, but with reports of hangs and of times that run backwards
        # The driver queues about a thousand kernels. Launches beyond that would wait for the backlog, and be timed.
        calls = min(calls, DEVICE_CALLS)
        cuda = self.torch.cuda
        started = time.perf_counter_ns()
        for _ in range(calls):
            call(*inputs)
        launch_ns = time.perf_counter_ns() - started
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        cuda.synchronize()
        # The clock is at most 2 GHz, so this backlog lasts longer than all launches together.
        cuda._sleep(int(3 * launch_ns * 2))
        begin.record()
        for _ in range(calls):
            call(*inputs)
        end.record()
        cuda.synchronize()
        return float(begin.elapsed_time(end)) * 1e6 / calls

    def null(self) -> Call:
        one = self.torch.ones(1, device=self.device)
        return lambda: self.torch.add(one, one)

    def check_dtype(self, dtype: str) -> None:
        if self.kind == "cuda" and dtype == "bfloat16" and not self.torch.cuda.is_bf16_supported():
            raise Unsupported(f"{self.torch.cuda.get_device_name()} has no bfloat16.")
        if self.kind == "mps":
            try:
                self.torch.ones(1, dtype=getattr(self.torch, dtype), device=self.device)
            except (TypeError, RuntimeError) as error:
                # torch raises either for a missing dtype; a RuntimeError may also be one of memory, or of a broken driver.
                if isinstance(error, RuntimeError) and "support" not in str(error):
                    raise
                raise Unsupported(f"MPS has no {dtype} here: {error}") from None

    def compilations(self) -> int | None:
        dynamo = sys.modules.get("torch._dynamo.utils")
        return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])

    def reset_peak(self) -> None:
        if self.kind == "cuda":
            self.torch.cuda.reset_peak_memory_stats()
        elif self.kind == "cpu":
            process_peak_reset()

    def peak_bytes(self) -> int | None:
        if self.kind == "cuda":
            return int(self.torch.cuda.max_memory_allocated())
        if self.kind == "mps":
            return int(self.torch.mps.driver_allocated_memory())
        return process_peak_bytes()

    def used_bytes(self) -> int | None:
        known = {"cuda": self.torch.cuda.memory_allocated, "mps": self.torch.mps.current_allocated_memory}
        return int(known[self.kind]()) if self.kind in known else None

    def free_bytes(self) -> int | None:
        return int(self.torch.cuda.mem_get_info()[0]) if self.kind == "cuda" else None

    def working_set_bytes(self) -> int | None:
        recommended = getattr(self.torch.mps, "recommended_max_memory", None) if self.kind == "mps" else None
        return None if recommended is None else int(recommended())

    def clear(self) -> None:
        if "torch._dynamo" in sys.modules:  # importing the compiler takes a second, and eager mode does not need it
            self.torch._dynamo.reset()
        if self.kind == "cuda":
            self.torch.cuda.empty_cache()
        elif self.kind == "mps":
            self.torch.mps.empty_cache()

    def describe(self) -> Description:
        torch = self.torch
        built = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
        details = {
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        }
        name = "cpu"
        if self.kind == "cuda":
            name = torch.cuda.get_device_name()
            details |= {
                "cuda": str(torch.version.cuda),
                "compute_capability": "{}.{}".format(*torch.cuda.get_device_capability()),
            }
        elif self.kind == "mps":
            name = "Apple GPU"
        return Description(
            library="torch",
            version=torch.__version__,
            device="cpu" if self.kind == "cpu" else "gpu",
            device_kind=self.kind,
            device_name=name,
            threads=torch.get_num_threads(),
            blas=_blas.said_or_found(built.group(1) if built else None, "sgemm_", torch._C.__file__),
            peak_kind={
                "cpu": process_peak_kind(),
                "cuda": "torch's allocator, peak",
                "mps": "Metal driver's allocation at the end, torch's cache included (torch.mps keeps no peak)",
            }[self.kind],
            details=details,
        )


def _device_kind(torch: Any, device: str) -> str:
    kinds = [kind for kind, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if module.is_available()]
    if device == "cpu" or (device == "auto" and not kinds):
        return "cpu"
    if not kinds:
        raise Unsupported(f"torch {torch.__version__} sees no GPU here: neither CUDA nor MPS is available.")
    return str(kinds[0])


def _gpus(torch: Any, kind: str) -> int:
    return int(torch.cuda.device_count()) if kind == "cuda" else int(kind == "mps")


def _replays_graphs(told: Mapping[str, Any]) -> bool:
    """Whether torch.compile, told so, replays CUDA graphs."""
    backend = told.get("backend", "inductor")
    by_option = bool(told.get("options", {}).get(GRAPHS, False))
    return backend == "cudagraphs" or (backend == "inductor" and (told.get("mode") in GRAPH_MODES or by_option))


def _held_tensors(torch: Any, call: Any) -> Iterator[Any]:
    """The tensors that a call holds: in what it closes over and what it was given beforehand, at any depth.

    Tensors of modules are left out: the compiler knows that these are parameters.
    """
    seen: set[int] = set()
    waiting = [call]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, torch.nn.Module):
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            waiting += one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, partial):
            waiting += [one.func, *one.args, *one.keywords.values()]
        elif isinstance(one, MethodType):
            waiting += [one.__self__, one.__func__]
        elif isinstance(one, FunctionType):
            waiting += [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        elif isinstance(one, SimpleNamespace):
            waiting += vars(one).values()


def _is_filled(cell: Any) -> bool:
    """Whether a closure's cell has a value: it has none if the function was defined before the variable."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _computed_on_return(out: Any) -> None:
    """torch runs CPU operators to completion before it returns."""


def _namespace(device: Any) -> SimpleNamespace:
    """Array-API functions of torch; those that create arrays do so on this device."""
    import array_api_compat.torch as xp

    names = {name: getattr(xp, name) for name in dir(xp) if not name.startswith("_")}
    creators = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")
    return SimpleNamespace(**names | {name: partial(names[name], device=device) for name in creators})
