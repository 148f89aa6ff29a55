"""What the worker relies on in each framework: exact arrays, honest leaves, and a reason where it cannot run."""

import importlib
import importlib.abc
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtbench.catalogue import registry
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.reference import round_to

OPTIONAL = {"jax", "llama_cpp"}
"""Frameworks whose library comes with an extra of its own."""

SERVERS = {"openai_server"}
"""Frameworks that ask another program, which tests/servers/ starts."""

FRAMEWORKS = [
    name for name in registry.names("framework") if name not in SERVERS and (name not in OPTIONAL or find_spec(name))
]
DTYPES = ("float32", "float16", "bfloat16")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    made: Framework = registry.load("framework", request.param)(Settings(device="cpu"))
    return made


def start(name: str, **settings: str) -> Framework:
    made: Framework = registry.load("framework", name)(Settings(**settings))
    return made


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_values_survive_the_round_trip(framework: Framework, dtype: str) -> None:
    try:
        framework.check_dtype(dtype)
    except Unsupported:
        pytest.skip(f"{framework.library} has no {dtype}")
    rng = np.random.default_rng(0)
    host = np.concatenate([rng.standard_normal(1000), rng.standard_normal(1000) * 1e-4, [0.0, 1.0, -60000.0]])
    host = round_to(host, dtype)
    array = framework.array(host, dtype)
    assert dtype in str(getattr(array, "stands_for", array.dtype))  # llama.cpp: NumPy has no bfloat16
    np.testing.assert_array_equal(framework.host(array), host)


def test_values_are_rounded_to_nearest_even(framework: Framework) -> None:
    for dtype, digits in {"float32": 24, "float16": 11, "bfloat16": 8}.items():
        ulp = 2.0 ** (1 - digits)
        # half-way between two neighbours, the even one wins, upwards and downwards
        values = np.array([1 + ulp / 2, 1 + 3 * ulp / 2, 1 + 0.51 * ulp])
        expected = [1, 1 + 2 * ulp, 1 + ulp]
        assert round_to(values, dtype).tolist() == expected
        try:
            framework.check_dtype(dtype)
        except Unsupported:
            continue
        assert framework.host(framework.array(round_to(values, dtype), dtype)).tolist() == expected


def test_integers_stay_integers(framework: Framework) -> None:
    tokens = np.array([0, 1, 50_000, 123_456_789])
    array = framework.array(tokens, "float16")
    assert "int" in str(array.dtype)
    assert framework.host(array).tolist() == tokens.tolist()


def test_masks_stay_masks(framework: Framework) -> None:
    # as integers, `where` and attention take them for numbers that are added
    mask = framework.array(np.array([[True, False]]), "float16")
    assert "bool" in str(mask.dtype)
    assert framework.host(mask).tolist() == [[1, 0]]


def test_values_can_be_put_into_an_array_that_is_there(framework: Framework) -> None:
    array, values = (framework.array(np.full((2, 3), value), "float32") for value in (1.0, 2.0))
    kept = framework.copy(array)
    assert framework.leaves(kept) == [kept]
    new = framework.overwrite(array, values)
    assert (new is array) is (framework.library != "jax")  # whose arrays never change
    assert framework.host(new).tolist() == framework.host(values).tolist() == [[2] * 3] * 2
    assert framework.host(kept).tolist() == [[1] * 3] * 2
    framework.overwrite(array, kept)
    assert framework.host(values).tolist() == [[2] * 3] * 2


def test_mlx_reads_memory_that_its_device_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    framework: Any = start("mlx", device="cpu")
    evaluate, graphs = framework.mx.eval, []

    def noted(array: Any) -> None:
        framework.mx.export_to_dot(str(tmp_path / "graph.dot"), array)
        graphs.append((tmp_path / "graph.dot").read_text())
        evaluate(array)

    monkeypatch.setattr(framework.mx, "eval", noted)
    for host in (np.ones(3), np.ones(3, np.int32), np.ones(3, np.bool_)):
        array = framework.array(host, "float32")
        assert "AsType" in graphs.pop(), host.dtype
    values = framework.copy(array)
    framework.overwrite(array, values)
    assert _address(array) != _address(values)


def _address(array: Any) -> int:
    """Where an array of MLX on the CPU has its values."""
    return int(np.asarray(memoryview(array)).ctypes.data)


def test_an_array_without_memory_for_all_its_values_is_seen(framework: Framework) -> None:
    array = framework.array(np.ones((1, 4)), "float32")
    assert framework.stored_whole(array)
    repeated = framework.xp.broadcast_to(array, (3, 4))
    framework.wait(repeated)
    assert framework.stored_whole(repeated) is (framework.library == "jax")  # which makes it anew


def test_an_array_of_a_class_of_its_own_is_refused() -> None:
    class Lazy(np.ndarray):
        pass

    with pytest.raises(TypeError, match="a Lazy, which is not an array of this library"):
        start("numpy", device="cpu").leaves(np.ones(2).view(Lazy))


def test_an_array_is_a_copy(framework: Framework) -> None:
    host = np.ones(4, dtype=np.float32)
    array = framework.array(host, "float32")
    host[:] = 2
    assert framework.host(array).tolist() == [1, 1, 1, 1]


def test_leaves_are_found_in_nested_results(framework: Framework) -> None:
    a, b, c = (framework.array(np.full(2, value), "float32") for value in (1.0, 2.0, 3.0))
    assert [framework.host(leaf)[0] for leaf in framework.leaves((a, {"k": [b, (c,)]}))] == [1, 2, 3]


@pytest.mark.parametrize("foreign", [None, 1.0, "text", [], (), {}, [None], SimpleNamespace(out=1)])
def test_a_result_that_nobody_would_wait_for_is_refused(framework: Framework, foreign: Any) -> None:
    array = framework.array(np.ones(2), "float32")
    with pytest.raises(TypeError, match="not an array of this library"):
        framework.leaves(foreign)
    with pytest.raises(TypeError, match="not an array of this library"):
        framework.leaves([array, foreign])


def test_another_librarys_array_is_refused(framework: Framework) -> None:
    others = {name: start(name, device="cpu") for name in FRAMEWORKS if name != framework.library}
    for other in others.values():
        with pytest.raises(TypeError):
            framework.leaves(other.array(np.ones(2), "float32"))


def test_the_null_call_and_the_compiler_give_arrays(framework: Framework) -> None:
    null = framework.null()
    out = null()
    framework.wait(out)
    assert framework.host(framework.leaves(out)[0]).tolist() == [2]
    try:
        compiled = framework.compile(lambda x: x * 2)
    except Unsupported:
        assert framework.library in ("numpy", "llama_cpp")
        return
    out = compiled(framework.array(np.array([3.0]), "float32"))
    framework.wait(out)
    assert framework.host(out).tolist() == [6]
    framework.clear()


def test_the_description_says_who_runs(framework: Framework) -> None:
    description = framework.describe()
    assert description.library == framework.library
    assert (description.device, description.device_kind) == ("cpu", "cpu")
    assert description.version[0].isdigit()
    assert description.blas
    assert all(isinstance(value, str) for value in description.details.values())


def test_the_memory_peak_sees_an_array(framework: Framework) -> None:
    framework.reset_peak()
    array = framework.array(np.ones((64, 1024, 1024)), "float32")
    framework.wait(array)
    peak = framework.peak_bytes()
    assert peak is not None
    assert peak >= 64 * 2**20 * 4


def gpu_of(name: str) -> bool:
    if name == "numpy":
        return False
    if name == "torch":
        import torch

        return bool(torch.cuda.is_available() or torch.backends.mps.is_available())
    if name == "jax":
        import jax

        return any(device.platform == "gpu" for device in jax.devices())
    import mlx.core as mx

    return bool(mx.metal.is_available() or mx.cuda.is_available())


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_gpu_that_is_not_there_is_unsupported(name: str) -> None:
    if gpu_of(name):
        pytest.skip("there is one")
    with pytest.raises(Unsupported, match=r"no GPU here|CPU only"):
        start(name, device="gpu")


def test_numpy_lacks_what_it_lacks() -> None:
    numpy = start("numpy")
    with pytest.raises(Unsupported, match="bfloat16"):
        numpy.check_dtype("bfloat16")
    with pytest.raises(Unsupported, match="TF32"):
        start("numpy", matmul_precision="tf32")
    with pytest.raises(Unsupported, match="no compiler"):
        numpy.compile(lambda x: x)


@pytest.mark.parametrize("precision", ["highest", "tf32"])
def test_precision_is_set_to_one_meaning_in_both_libraries(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")  # restored afterwards
    torch = start("torch", device="cpu", matmul_precision=precision)
    with suppress(Unsupported):  # tf32 where it would do nothing
        start("mlx", matmul_precision=precision)
    wanted = {"highest": ("highest", "0"), "tf32": ("high", "1")}[precision]
    found = torch.describe().details["float32_matmul_precision"], os.environ["MLX_ENABLE_TF32"]
    start("torch", device="cpu")
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("torch", "torch", "pip install torch"),
        ("mlx", "mlx.core", "pip install mlx"),
        ("jax", "jax", r"pip install 'mtbench\[jax\]'"),
    ],
)
def test_a_missing_library_is_unsupported(name: str, module: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unsupported, match=says):
        start(name)


class Broken(importlib.abc.MetaPathFinder):
    """Makes a module's import fail for want of something else, or with an error of the dynamic linker."""

    def __init__(self, module: str, error: ImportError) -> None:
        self.module, self.error = module, error

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname == self.module:
            raise self.error
        return None


def break_import(monkeypatch: pytest.MonkeyPatch, module: str, error: ImportError) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(module, error), *sys.meta_path])


@pytest.mark.parametrize(("name", "module"), [("torch", "torch"), ("mlx", "mlx.core"), ("jax", "jax")])
def test_a_broken_installation_is_not_taken_for_a_missing_one(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_import(monkeypatch, module, ModuleNotFoundError("No module named 'sympy'", name="sympy"))
    with pytest.raises(ModuleNotFoundError, match="sympy"):
        start(name)


def test_mlx_without_a_backend_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "mlx.core", ImportError("libmlx.so: cannot open shared object file"))
    with pytest.raises(Unsupported, match=r"mlx\[cpu\]"):
        start("mlx")


@pytest.mark.skipif("jax" not in FRAMEWORKS, reason="JAX is not installed")
class TestJax:
    def test_precision_is_set(self) -> None:
        for precision, name in {"tf32": "tensorfloat32", "highest": "highest"}.items():
            jax = start("jax", device="cpu", matmul_precision=precision)
            assert jax.describe().details["default_matmul_precision"] == name

    def test_gpu_memory_is_left_to_others(self) -> None:
        start("jax", device="cpu")
        assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"

    def test_a_compilation_is_counted_in_both_modes(self) -> None:
        jax = start("jax", device="cpu")
        x, longer = (jax.array(np.ones(size), "float32") for size in (1031, 1033))  # lengths that no other test has
        for call in (lambda x: x * 3, jax.compile(lambda x: x * 3)):
            counts = [jax.compilations() for argument in (x, x, longer) if jax.wait(call(argument)) is not None]
            assert counts[0] == counts[1]
            assert counts[1] < counts[2]  # type: ignore[operator]

    def test_weights_are_arguments_of_compiled_code_and_no_constants(self) -> None:
        jax = start("jax", device="cpu")
        weight = jax.array(np.arange(300 * 300.0).reshape(300, 300) / 300**2, "float32")
        before = jax.compilations()
        call = jax.compile(lambda x: (x @ weight, [x + weight.sum()]))
        for rows in (2, 5):  # another shape is compiled anew, for the same weights
            x = np.ones((rows, 300))
            out = jax.leaves(call(jax.array(x, "float32")))
            np.testing.assert_allclose(jax.host(out[0]), x @ jax.host(weight), rtol=1e-5)
            np.testing.assert_allclose(jax.host(out[1]), x + jax.host(weight).sum(), rtol=1e-5)
        assert jax.compilations() == before + 2  # type: ignore[operator]
        jitted = next(cell.cell_contents for cell in call.__closure__ or () if hasattr(cell.cell_contents, "lower"))
        code = jitted.lower([weight], jax.array(np.ones((2, 300)), "float32")).as_text()
        assert len(code) < 10_000

    def test_queued_work_is_done_in_order(self) -> None:
        # what throughput mode rests on: it waits for the last result alone
        jax = start("jax", device="cpu")
        long, short = (jax.array(np.ones((size, size)), "float32") for size in (1000, 8))
        product = jax.compile(lambda x: x @ x @ x @ x)
        for x in (long, short):
            jax.wait(product(x))
        first = product(long)
        jax.wait(product(short))
        assert first.is_ready()

    def test_an_idle_process_does_not_spin(self) -> None:
        jax = start("jax", device="cpu")
        x = jax.array(np.ones((500, 500)), "float32")
        shares = []
        for _ in range(10):
            jax.wait(x @ x)
            before = time.process_time()
            time.sleep(0.02)
            shares.append((time.process_time() - before) / 0.02)
        assert min(shares) < 0.1


def test_mps_is_refused_where_it_may_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    with pytest.raises(Unsupported, match="PYTORCH_ENABLE_MPS_FALLBACK"):
        start("torch")


def test_eager_torch_leaves_the_compiler_alone_and_counts_what_it_does() -> None:
    program = """
import sys
import numpy as np
from mtbench.frameworks.base import Settings
from mtbench.frameworks.torch import Torch

torch = Torch(Settings("cpu"))
x = torch.array(np.ones(3), "float32")
torch.wait(x + x)
torch.clear()
print(torch.compilations(), "torch._dynamo" in sys.modules)
call = torch.torch.compile(lambda x: x + x, backend="eager")
for clear in (False, False, True):
    if clear:
        torch.clear()
    torch.wait(call(x))
    print(torch.compilations())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False", "1", "1", "2"]


def test_torch_compile_without_a_compiler_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = start("torch", device="cpu")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unsupported, match=r"C\+\+ compiler"):
        torch.compile(lambda x: x)


NAMES_USED_ON_OTHER_MACHINES = [
    "torch.mps.synchronize",
    "torch.mps.empty_cache",
    "torch.mps.driver_allocated_memory",
    "torch.mps.recommended_max_memory",
    "torch.backends.mps.is_available",
    "torch.cuda.synchronize",
    "torch.cuda.empty_cache",
    "torch.cuda.max_memory_allocated",
    "torch.cuda.reset_peak_memory_stats",
    "torch.cuda.get_device_name",
    "torch.cuda.get_device_capability",
    "torch.cuda.is_bf16_supported",
    "torch.cuda.Event",
    "torch.nn.attention.bias.causal_lower_right",
    "jax.block_until_ready",
    "jax.nn.dot_product_attention",
    "mlx.core.metal.is_available",
    "mlx.core.cuda.is_available",
    "mlx.core.device_info",
    "mlx.core.fast.scaled_dot_product_attention",
    "mlx.core.fast.layer_norm",
    "mlx.core.get_peak_memory",
    "mlx.core.reset_peak_memory",
    "mlx.core.clear_cache",
]


@pytest.mark.parametrize("name", NAMES_USED_ON_OTHER_MACHINES)
def test_what_other_machines_need_exists_in_the_library(name: str) -> None:
    import torch.nn.attention.bias  # noqa: F401

    if name.startswith("jax"):
        pytest.importorskip("jax")
    importlib.import_module("mlx.core")
    found: Any = importlib.import_module(name.split(".", 1)[0])
    for attribute in name.split(".")[1:]:
        found = getattr(found, attribute)
    assert callable(found)
