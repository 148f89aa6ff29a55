"""What torch and MLX are asked and told on a Mac, on stand-ins for Metal: no Mac need be at hand."""

import subprocess
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks import _compiler as compiler
from mtbench.frameworks import mlx as mlx_framework
from mtbench.frameworks import numpy as numpy_framework
from mtbench.frameworks.base import Framework, Settings


def start(name: str, **settings: str) -> Framework:
    made: Framework = registry.load("framework", name)(Settings(**settings))
    return made


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.fixture
def metal(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A build of MLX with Metal, whose GPU describes itself by what is returned here."""
    info: dict[str, Any] = {"device_name": "Apple M4", "architecture": "applegpu_g16g"}

    def device_info(device: Any = None) -> dict[str, Any]:
        if isinstance(info.get("raises"), Exception):
            raise info["raises"]
        return info

    monkeypatch.setenv("MLX_ENABLE_TF32", "0")  # restored afterwards
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", device_info)
    monkeypatch.setattr(mx, "set_default_device", lambda device: None)
    return info


def test_a_build_with_metal_and_no_device_is_unsupported(metal: dict[str, Any]) -> None:
    metal["raises"] = RuntimeError("[metal::load_device] No Metal device available.")
    with pytest.raises(Unsupported, match="No Metal device available"):
        start("mlx", device="gpu")
    assert mlx_framework._device_kind(mx, "auto") == "cpu"


def test_the_gpus_architecture_and_the_wheel_are_in_the_details(
    metal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-macosx_15_0_arm64\n"
    asked = []
    monkeypatch.setattr(
        mlx_framework,
        "distribution",
        lambda name: (asked.append(name), SimpleNamespace(read_text=lambda file: wheel))[1],
    )
    metal.update(architecture="applegpu_g17s", max_recommended_working_set_size=5 * 2**30)
    framework = start("mlx", device="gpu")
    details = framework.describe().details
    assert details["architecture"] == "applegpu_g17s"
    assert details["mlx_metal_wheel"] == "py3-none-macosx_15_0_arm64"
    assert asked == ["mlx-metal"]
    assert framework.working_set_bytes() == 5 * 2**30


def test_tf32_is_refused_where_it_changes_nothing(metal: dict[str, Any], mps: None) -> None:
    with pytest.raises(Unsupported, match=r"applegpu_g16.*before M5"):
        start("mlx", device="gpu", matmul_precision="tf32")
    with pytest.raises(Unsupported, match="on the CPU"):
        start("mlx", device="cpu", matmul_precision="tf32")
    with pytest.raises(Unsupported, match="MPS has no TF32"):
        start("torch", device="gpu", matmul_precision="tf32")
    metal["architecture"] = "applegpu_g17s"
    assert start("mlx", device="gpu", matmul_precision="tf32").describe().details["MLX_ENABLE_TF32"] == "1"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
            Unsupported,
        ),
        (RuntimeError("MPS BFloat16 is only supported on MacOS 14 or newer"), Unsupported),
        (
            RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GiB). Tried to allocate 256 bytes"),
            RuntimeError,
        ),
    ],
)
def test_only_a_missing_dtype_is_called_one(
    mps: None, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    framework = start("torch", device="cpu")
    framework.kind = "mps"  # type: ignore[attr-defined]

    def ones(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(expected) as raised:
        framework.check_dtype("bfloat16")
    assert isinstance(raised.value, Unsupported) is (expected is Unsupported)


def test_the_working_set_is_asked_of_torch(mps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    framework = start("torch", device="cpu")
    assert framework.working_set_bytes() is None
    framework.kind = "mps"  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5726633984)
    assert framework.working_set_bytes() == 5726633984


def test_a_compiler_that_is_apples_shim_counts_only_with_the_developer_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {"xcode-select": 2}
    asked = []

    def run(command: list[str], **_: Any) -> Any:
        asked.append(command)
        return SimpleNamespace(returncode=codes["xcode-select"])

    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler, "is_macos", lambda: True)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    assert compiler.cxx_compiler() is None
    assert asked[0] == ["/usr/bin/xcode-select", "-p"]
    codes["xcode-select"] = 0
    assert compiler.cxx_compiler() == "/usr/bin/g++"
    codes["xcode-select"] = 2
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/opt/homebrew/bin/{name}")
    assert compiler.cxx_compiler() == "/opt/homebrew/bin/g++"
    monkeypatch.setattr(compiler, "is_macos", lambda: False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert compiler.cxx_compiler() == "/usr/bin/g++"


def test_numpys_blas_is_not_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"Build Dependencies": {"blas": {"name": "accelerate", "version": "unknown"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: found)
    assert numpy_framework.NumPy(Settings("cpu")).describe().blas == "accelerate"
