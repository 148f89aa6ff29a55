"""How a library is set up: its compiler, its threads, a GPU by number, limits of its own; and why it cannot be."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as pytorch

from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks import torch as torch_file
from mtbench.frameworks.base import CompileSettings, Framework, Settings


def start(name: str, **settings: Any) -> Framework:
    made: Framework = registry.load("framework", name)(Settings(device="cpu", **settings))
    return made


def told(monkeypatch: pytest.MonkeyPatch, kind: str = "cpu", usual: Any = None, **settings: Any) -> dict[str, Any]:
    """What torch.compile is told."""
    torch: Any = start("torch", compile=CompileSettings(**settings))
    torch.kind = kind
    found: dict[str, Any] = {}
    monkeypatch.setattr(pytorch, "compile", lambda call, **given: found.update(given) or call)
    torch.compile(lambda x: x, **usual or {})
    assert dict(torch.compiled_with) == found
    assert torch.static_outputs == (kind == "cuda" and torch_file._replays_graphs(found))
    return found


GENERATE = {"fullgraph": False, "dynamic": None, "backend": "inductor", "mode": "reduce-overhead", "options": None}
OPTIONS = (("triton.cudagraphs", True),)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_torch_compile_is_told_what_the_arm_says(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = partial(told, monkeypatch, kind)
    assert tell() == {"dynamic": False}
    assert tell(mode="max-autotune", fullgraph=True) == {"dynamic": False, "mode": "max-autotune", "fullgraph": True}
    assert tell(dynamic=True, backend="eager") == {"dynamic": True, "backend": "eager"}
    assert tell(options=OPTIONS) == {"dynamic": False, "options": {"triton.cudagraphs": True}}


def test_what_another_library_compiles_with_counts_less(monkeypatch: pytest.MonkeyPatch) -> None:
    tell = partial(told, monkeypatch, "cuda", GENERATE)
    usual = {"dynamic": False, "fullgraph": False, "backend": "inductor", "mode": "reduce-overhead"}
    assert tell() == usual
    assert tell(mode="default") == usual | {"mode": "default"}
    assert "mode" not in tell(options=OPTIONS)
    assert tell(backend="eager") == {"dynamic": False, "fullgraph": False, "backend": "eager"}


@pytest.mark.parametrize(
    ("given", "graphs"),
    [
        ({}, False),
        ({"mode": "default"}, False),
        ({"mode": "reduce-overhead"}, True),
        ({"mode": "max-autotune"}, True),
        ({"mode": "max-autotune-no-cudagraphs"}, False),
        ({"options": {"triton.cudagraphs": True}}, True),
        ({"options": {"triton.cudagraphs": False}}, False),
        ({"mode": "reduce-overhead", "backend": "eager"}, False),
        ({"backend": "cudagraphs"}, True),
    ],
)
def test_which_settings_replay_graphs(given: dict[str, Any], graphs: bool) -> None:
    assert torch_file._replays_graphs(given) == graphs
    from torch._inductor import list_mode_options

    modes = {mode for mode, options in list_mode_options().items() if options.get(torch_file.GRAPHS)}
    assert modes == set(torch_file.GRAPH_MODES)


def test_weights_that_a_call_holds_are_marked_as_parameters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c, d, e = (pytorch.ones(1) for _ in range(5))
    module = pytorch.nn.Linear(1, 1)

    def inner(x: Any) -> Any:
        return x * a + parts[0] + w.d

    def outer(bias: Any, x: Any) -> Any:
        return module(inner(x)) + bias + later

    parts, w = [b, (c,)], SimpleNamespace(d=d)
    call = partial(outer, e)
    held = list(torch_file._held_tensors(pytorch, call))
    assert {id(one) for one in held} == {id(one) for one in (a, b, c, d, e)}
    later = pytorch.ones(1)  # a cell that was empty
    torch: Any = start("torch", compile=CompileSettings(mode="reduce-overhead"))
    torch.kind = "cuda"
    monkeypatch.setattr(pytorch, "compile", lambda call, **_: call)
    torch.compile(call)
    assert all(hasattr(one, "_dynamo_static_input_type") for one in (a, b, c, d, e, later))


def test_marked_weights_are_fixed_inputs_of_the_graph() -> None:
    """What CUDA graphs go by; by the compiler's own account, which needs no CUDA."""
    weight, found = pytorch.ones(3), []

    def compiler(graph: Any, inputs: Any) -> Any:
        nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
        found.extend("_dynamo_static_input_type" in node.meta.get("tensor_dict", {}) for node in nodes)
        return graph.forward

    pytorch._dynamo.mark_static_address(weight)
    compiled = pytorch.compile(lambda x: x * weight, backend=compiler)
    compiled(pytorch.ones(3))
    assert sorted(found) == [False, True]


def test_graphs_that_are_asked_for_and_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = start("torch", compile=CompileSettings(mode="reduce-overhead"))
    assert torch.caveats() == []
    torch.compile(lambda x: x)
    assert torch.caveats() == ["compiled without CUDA graphs, which were asked for: cpu has none"]
    torch.kind = "cuda"
    torch.compile(lambda x: x)
    assert torch.caveats() == []
    skipped = pytorch._dynamo.utils.counters["inductor"]
    monkeypatch.setitem(skipped, "cudagraph_skips", skipped["cudagraph_skips"] + 1)
    assert torch.caveats() == ["torch skipped 1 CUDA graphs, TORCH_LOGS=perf_hints says why"]


@pytest.mark.parametrize("settings", [{"mode": "fastest"}, {"options": (("speed", "high"),)}, {"backend": "none"}])
def test_settings_that_torch_refuses_are_unsupported(settings: dict[str, Any]) -> None:
    torch = start("torch", compile=CompileSettings(**settings))
    with pytest.raises(Unsupported, match=r"torch\.compile does not take framework\.compile="):
        torch.compile(lambda x: x)


def test_threads_are_set() -> None:
    before = pytorch.get_num_threads()
    try:
        assert start("torch", threads=1).describe().threads == 1
    finally:
        pytorch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("mlx", {"compile": CompileSettings(mode="default")}, "leave framework.compile.mode out"),
        ("jax", {"threads": 2}, "leave framework.threads out"),
        ("jax", {"compile": CompileSettings(fullgraph=True)}, "leave framework.compile.fullgraph out"),
        ("numpy", {"compile": CompileSettings(mode="default")}, "NumPy's compiler has no settings"),
        *[(name, {"device_index": 1}, "no GPU by number, so no gpu:1") for name in ("torch", "mlx", "jax", "numpy")],
        ("mlx", {"own": (("cache_limit_bytes", "much"),)}, "cache_limit_bytes=much cannot be set in MLX"),
    ],
)
def test_what_a_library_lacks_is_unsupported(name: str, settings: dict[str, Any], says: str) -> None:
    if name == "jax":
        pytest.importorskip("jax")
    with pytest.raises(Unsupported, match=says):
        start(name, **settings)


def test_a_setting_of_another_library_is_unsupported() -> None:
    settings = Settings(own=(("cache_limit_bytes", 1),))
    registry.load("framework", "mlx").check_own(settings)
    with pytest.raises(Unsupported, match=r"torch has no setting framework\.settings\.cache_limit_bytes; it has none"):
        registry.load("framework", "torch").check_own(settings)


def test_mlx_is_limited_as_asked() -> None:
    import mlx.core as mx

    before = mx.set_cache_limit(1)
    try:
        mlx = start("mlx", own=(("cache_limit_bytes", 4096),))
        assert mlx.describe().details["cache_limit_bytes"] == "4096"
        assert mx.set_cache_limit(before) == 4096
    finally:
        mx.set_cache_limit(before)


def test_a_gpu_is_taken_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    monkeypatch.setattr(pytorch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pytorch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(pytorch.cuda, "set_device", chosen.append)
    framework = registry.load("framework", "torch")
    assert framework(Settings("gpu", device_index=1)).device == pytorch.device("cuda", 1)
    assert chosen == [pytorch.device("cuda", 1)]
    with pytest.raises(Unsupported, match="2 GPUs here, numbered from 0, so no gpu:2"):
        framework(Settings("gpu", device_index=2))


def test_arrays_are_where_they_were() -> None:
    assert start("torch").array(np.ones(2), "float32").device == pytorch.device("cpu")


SAYS = """
import sys
from mtbench.catalogue import registry
from mtbench.frameworks.base import Settings
print(registry.load("framework", sys.argv[1])(Settings("cpu", own=tuple(zip(["blas"], sys.argv[2:])))).describe().blas)
"""


def blas_of(library: str, *own: str, preloaded: str = "") -> str:
    """What a library in a process of its own says it multiplies with."""
    asked = [sys.executable, "-c", SAYS, library, *own]
    return subprocess.check_output(asked, env=os.environ | {"LD_PRELOAD": preloaded}, text=True).strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX has Accelerate")
def test_the_blas_of_a_record_is_the_one_that_is_called(tmp_path: Path) -> None:
    """MLX's own BLAS under another name stands for one that a user has."""
    brought = Path(str(importlib.metadata.distribution("mlx-cpu").locate_file("mlx_cpu.libs")))
    for file in brought.iterdir():
        shutil.copy(file, tmp_path / ("libmine.so" if file.name.startswith("libblas") else file.name))
    mine = str(tmp_path / "libmine.so")
    assert blas_of("mlx").startswith("libblas.so")
    assert blas_of("mlx", mine) == "libmine.so"
    assert blas_of("mlx", preloaded=mine) == "libmine.so"
    usual = blas_of("torch")
    assert usual not in ("None", "libmine.so")
    assert blas_of("torch", preloaded=mine) == "libmine.so"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX has Accelerate")
def test_a_blas_that_is_not_there_is_said() -> None:
    with pytest.raises(Unsupported, match=r"framework\.settings\.blas=libnone\.so cannot be loaded: libnone\.so"):
        start("mlx", own=(("blas", "libnone.so"),))
