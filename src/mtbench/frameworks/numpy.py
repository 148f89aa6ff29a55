"""NumPy on the CPU: what a user has without any framework, and the library that computes the reference."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import Unsupported
from mtbench.frameworks._host_arrays import HostArrays
from mtbench.frameworks.base import Call, Description, Settings, process_peak_kind, refuse
from mtbench.reference import array_namespace


class NumPy(HostArrays):
    """NumPy, which computes before it returns, so there is nothing to wait for."""

    library = "numpy"

    def __init__(self, settings: Settings) -> None:
        if settings.device == "gpu":
            raise Unsupported("NumPy runs on the CPU only.")
        if settings.matmul_precision == "tf32":
            raise Unsupported("NumPy has no TF32.")
        refuse(settings, "NumPy", threads=True)  # its matrix library reads the environment
        self.xp: SimpleNamespace = array_namespace()
        self.wait = self.submit

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        return host.astype(dtype) if np.issubdtype(host.dtype, np.floating) else host.copy()

    def compile(self, call: Call, **usual: Any) -> Call:
        raise Unsupported("NumPy has no compiler.")

    def null(self) -> Call:
        one = np.ones(1, dtype=np.float32)
        return lambda: np.add(one, one)

    def check_dtype(self, dtype: str) -> None:
        if dtype == "bfloat16":
            raise Unsupported("NumPy has no bfloat16.")

    def describe(self) -> Description:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return Description(
            library="numpy",
            version=np.__version__,
            device="cpu",
            device_kind="cpu",
            device_name="cpu",
            threads=None,
            blas=" ".join(blas[part] for part in ("name", "version") if blas.get(part, "unknown") != "unknown"),
            peak_kind=process_peak_kind(),
            details={},
        )
