"""What mtbench needs of a framework, so that the worker has no branch on which one it is.

A framework file defines one class that derives from `Framework`. Requirements, and their reasons:

- The library is imported inside `__init__`, nowhere else: it may be missing, heavy or broken, and settings that are read
  at import (an environment variable, say) must be set first. A missing library is reported by raising `Unsupported`
  with what to install; any other import error is left alone, since it is a broken installation and must be seen.
- `wait` returns when the result is computed, on whatever device. `submit` starts work without waiting. Eager libraries have
  started it when the call returns; lazy ones need to be told.
- Nothing here may cost time inside a timed block beyond what a user of the library would pay.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from mtbench.errors import Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Call = Callable[..., Any]

Form = Callable[[Any, SimpleNamespace], Call]
"""Makes an operator's call, with this library's arrays for weights."""


@dataclass(frozen=True)
class CompileSettings:
    """How a library's compiler is to be run, by the names of torch.compile's arguments. What is None is left to the library."""

    mode: str | None = None
    fullgraph: bool | None = None
    backend: str | None = None
    dynamic: bool | None = None
    options: tuple[tuple[str, Any], ...] = ()  # sorted by name

    @property
    def given(self) -> dict[str, Any]:
        """What is set, by name."""
        options = {"options": dict(self.options)} if self.options else {}
        return {name: value for name, value in vars(self).items() if name != "options" and value is not None} | options


AS_IT_COMES = CompileSettings()


@dataclass(frozen=True)
class Settings:
    """How a worker is to set its library up. `device`: auto, cpu or gpu, `device_index` the number of the GPU, from 0;
    `matmul_precision`: highest or tf32; `threads`: on the CPU; `own`: settings that this library alone has, by name."""

    device: str = "auto"
    matmul_precision: str = "highest"
    device_index: int | None = None
    threads: int | None = None
    compile: CompileSettings = AS_IT_COMES
    own: tuple[tuple[str, Any], ...] = ()  # sorted by name


@dataclass(frozen=True)
class Description:
    """Which library a worker really ran, and on what: a part of each record.

    `device` is cpu or gpu; `device_kind` names the programming interface (cpu, cuda, rocm, mps, metal); `blas` is the matrix
    library behind CPU products; `peak_kind` says what `peak_bytes` counts; `details` holds whatever else is worth
    keeping, as text.
    """

    library: str
    version: str
    device: str
    device_kind: str
    device_name: str
    threads: int | None
    blas: str | None
    peak_kind: str
    details: dict[str, str]


class Framework(ABC):
    """One library on one device, set up as the settings say. Raises Unsupported where that is not possible here."""

    library: str
    xp: Any
    """Array-API namespace of the library, whose creation functions place their arrays on this device."""

    wait: Call
    """wait(out) returns when a result is complete. An attribute and not a method, so that the library's own function
    can stand here: it runs inside the timed call, where a frame of ours would be counted."""

    forms: Mapping[str, Form] = MappingProxyType({})
    """Forms of operators by the operator's key, for a library for which the operators' files have no methods. Each makes the
    function to be timed from the operator, with its parameters, and its weights. A form also serves operators that derive from
    its operator (`Operator.own_form`)."""

    variants: Mapping[str, Mapping[str, Form]] = MappingProxyType({})
    """Variants that this library adds, by the operator's key and the variant's name."""

    own_forms_only: str | None = None
    """For a framework that runs only operators with a form for it, since it has no array functions to compute definitions with:
    what it runs, in words. None for all others."""

    unverified: str | None = None
    """Why its answers cannot be checked against a reference, in words; None where they can. Such a framework is another program
    with a model and memory of its own. It is timed, and its records are `unverified`."""

    needs: Mapping[str, str] = MappingProxyType({})
    """Settings of its own without which it cannot start, with an example of each."""

    measures_peaks: bool = True
    """Whether its `xp` computes on the same device as its forms, so that peak rates can be measured with it."""

    compiles_for_minutes: bool = False
    """Whether its compiler may take minutes for a whole model."""

    own_settings: Collection[str] = ()
    """The names of the settings that this library alone has (`Settings.own`)."""

    compiler_has_settings: bool = False
    """Whether `Settings.compile` means anything to this library."""

    static_outputs: bool = False
    """Whether the next compiled call writes into the memory of the last result, as CUDA graphs do with their fixed addresses.
    Then a result is valid only until that call, and an equal address is no sign of an old answer."""

    compiled_with: Mapping[str, Any] = MappingProxyType({})
    """What the library's compiler was told when it was last used, by name, as far as that differs from its defaults."""

    submit: Call = staticmethod(lambda out: None)
    """submit(out) starts work on a result without waiting for it; most libraries have nothing left to do."""

    @abstractmethod
    def __init__(self, settings: Settings) -> None: ...

    @classmethod
    def check_own(cls, settings: Settings) -> None:
        """Raises Unsupported for a setting in framework.settings that this library does not have."""
        for name, _ in settings.own:
            if name not in cls.own_settings:
                known = ", ".join(cls.own_settings) or "none of its own"
                raise Unsupported(f"{cls.library} has no setting framework.settings.{name}; it has {known}.")

    @abstractmethod
    def array(self, host: "NDArray[Any]", dtype: str) -> Any:
        """Puts host values on the device in a dtype (float32, float16, bfloat16), waited for.

        Integers become the library's own type for indices, so that no form need convert them while it is timed; masks (bool)
        stay masks.
        """

    @abstractmethod
    def host(self, out: Any) -> "NDArray[np.float64]":
        """One array back to NumPy, as float64."""

    @abstractmethod
    def leaves(self, out: Any) -> list[Any]:
        """The arrays of this library in a result. Raises TypeError where it holds anything else, or no array."""

    def adopt(self, call: Call, dtype: str) -> Call:
        """A call of the user's, made ready for this device and a dtype: a module of the library is moved there."""
        return call

    def copy(self, array: Any) -> Any:
        """The same values in memory of their own, waited for."""
        return deepcopy(array)

    def overwrite(self, array: Any, values: Any) -> Any:
        """Copies another array's values into an array, waited for, and returns it. So a call that recognises its inputs by
        their addresses finds other values there, in memory that the device wrote. A library whose arrays never change returns
        a new array."""
        return self.copy(values)

    def stored_whole(self, array: Any) -> bool:
        """Whether an array has memory for all its values, so that each was written, as far as the library shows it."""
        return True

    @classmethod  # noqa: B027
    def keep_compiled_in(cls, folder: Path) -> None:
        """Makes the library's compiler keep its cache in this folder; called before the library is imported. The library's
        usual cache, which may hold the code that is to be compiled, is then not read."""

    @abstractmethod
    def compile(self, call: Call, **usual: Any) -> Call:
        """The library's own compiler on a call. Raises Unsupported where there is none here.

        `usual` are settings, named as in CompileSettings, with which a library such as transformers compiles such a call by
        itself. The arm's settings override them. A compiler without settings ignores them.
        """

    @classmethod
    def slow_flops_per_s(cls, device: str, env: Mapping[str, str], own: Mapping[str, Any]) -> float | None:
        """The FLOP/s of its matrix products on a device (auto, cpu, gpu), if they are known, without importing the library, to
        be far slower there than those of other libraries; else None. `env` and `own` are its worker's environment variables and
        own settings."""
        return None

    def caveats(self) -> list[str]:
        """Warnings for the record of the job that was just built."""
        return []

    def synchronize(self) -> None:  # noqa: B027
        """Waits for everything on the device, on any stream; used only to check that `wait` waited."""

    def settle(self, out: Any) -> None:
        """Completes a result and all else that was begun; `wait` must have left next to nothing to do."""
        for leaf in self.leaves(out):
            self.wait(leaf)
        self.synchronize()

    def same(self, one: Any, other: Any) -> bool:
        """Whether two arrays share memory, so that they cannot be two separate results."""
        return one is other

    def device_ns(self, call: Call, inputs: Sequence[Any], calls: int) -> float | None:
        """Nanoseconds per call by the device's own clock, or None where the library offers none that can be trusted.

        The calls are queued behind other work; otherwise the gaps between launches would be timed, too.
        """
        return None

    @abstractmethod
    def null(self) -> Call:
        """The library's cheapest call, for the floor: what calling and waiting cost with next to no work."""

    def check_dtype(self, dtype: str) -> None:  # noqa: B027
        """Raises Unsupported where the device lacks a dtype."""

    def compilations(self) -> int | None:
        """How many compilations the library has made so far, or None where it does not say."""
        return None

    def reset_peak(self) -> None:
        """Starts a new memory peak."""
        process_peak_reset()

    def peak_bytes(self) -> int | None:
        """The memory peak since `reset_peak`, in bytes; what it counts is `describe().peak_kind`."""
        return process_peak_bytes()

    def used_bytes(self) -> int | None:
        """Bytes of the device's memory that this library's arrays take now; None where it does not say."""
        return None

    def free_bytes(self) -> int | None:
        """Memory that the device has free, in bytes; None where it is the system's own, or the library does not say."""
        return None

    def working_set_bytes(self) -> int | None:
        """The most of the system's own memory that the device is recommended to use at a time, in bytes; None where the
        device has memory of its own, or the library does not say."""
        return None

    def clear(self) -> None:  # noqa: B027
        """Gives cached memory and compiled code back, between cells."""

    @abstractmethod
    def describe(self) -> Description:
        """Versions, device and settings in force, read back from the library and not from what was asked for."""


def refuse(settings: Settings, library: str, compiler: bool = False, threads: bool = False, gpus: int = 0) -> None:
    """Raises Unsupported for settings that a library lacks: a compiler's, a number of threads, or a GPU's number of `gpus` or
    more."""
    if settings.compile.given and not compiler:
        asked = ", ".join(f"framework.compile.{name}" for name in settings.compile.given)
        raise Unsupported(f"{library}'s compiler has no settings; leave {asked} out.")
    if settings.threads is not None and not threads:
        raise Unsupported(
            f"{library} takes no number of threads; leave framework.threads out, or choose processors by protocol.cpus."
        )
    if settings.device_index is not None and settings.device_index >= gpus:
        there = "no GPU by number" if gpus == 0 else f"{gpus} GPU{'s' if gpus > 1 else ''} here, numbered from 0"
        raise Unsupported(f"{library} has {there}, so no gpu:{settings.device_index}.")


def leaves(out: Any, array_type: type) -> list[Any]:
    """The arrays in nested tuples, lists and dicts. Anything else is refused, since nobody would wait for it, and so is a
    subclass of the array's type, which may compute only when it is looked at.

    Raises TypeError.
    """
    if type(out) is array_type:
        return [out]
    if isinstance(out, dict):
        out = list(out.values())
    if isinstance(out, (tuple, list)) and out:
        return [leaf for item in out for leaf in leaves(item, array_type)]
    raise TypeError(f"the result holds a {type(out).__name__}, which is not an array of this library")


def process_peak_kind() -> str:
    """What `process_peak_bytes` counts here."""
    since = "" if Path("/proc/self/clear_refs").exists() else " since it started"
    return f"peak resident size of the worker process{since}"


def process_peak_reset() -> None:
    """Restarts this process's peak resident size, where the kernel can (Linux: proc(5), /proc/pid/clear_refs)."""
    with suppress(OSError):  # elsewhere the peak is that of the process since its start
        Path("/proc/self/clear_refs").write_text("5")


def process_peak_bytes() -> int:
    """This process's peak resident size in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux: getrusage(2)
