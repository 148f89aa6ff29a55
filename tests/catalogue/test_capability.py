"""What the libraries say of this machine, asked in processes of their own."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mtbench.catalogue import capability, registry
from mtbench.catalogue.capability import Capability
from mtbench.errors import Unsupported
from mtbench.frameworks.base import Framework, Settings

OPTIONAL = ("jax", "llama_cpp", "openai_server")  # the last one is no module: a server is asked, which is not there


@pytest.mark.parametrize("library", [n for n in registry.names("framework") if n not in OPTIONAL or find_spec(n)])
def test_a_library_answers_as_its_framework_does(library: str) -> None:
    framework: Framework = registry.load("framework", library)(Settings("cpu"))
    (answer,) = capability.ask([library], ["cpu"])
    assert answer.description is not None
    if library == "torch":  # tests of operators give it one thread, where they run in the same process
        torch.set_num_threads(answer.description.threads or 1)
    for dtype in capability.DTYPES:
        if dtype in answer.dtypes:
            with pytest.raises(Unsupported, match=answer.dtypes[dtype]):
                framework.check_dtype(dtype)
        else:
            framework.check_dtype(dtype)
    assert answer.unsupported is None
    assert answer.description == framework.describe()
    assert answer == capability.probe(library, "cpu")


def test_an_answer_survives_json() -> None:
    refused = {"softmax": {"native bits=8": "no"}}
    for found in (Capability("a", "gpu", "no GPU"), replace(capability.probe("numpy", "cpu"), forms=refused)):
        assert Capability.from_json(found.to_json()) == found


def test_a_library_without_a_gpu_says_so() -> None:
    told: list[tuple[int, int]] = []
    (answer,) = capability.ask(["numpy"], ["gpu"], told=lambda done, of: told.append((done, of)))
    assert told == [(1, 1)]
    assert "CPU only" in str(answer.unsupported)
    assert answer.able == ()


def test_a_compiler_is_asked_for_where_it_is_wanted() -> None:
    (answer,) = capability.ask(["numpy"], ["cpu"], thorough=True)
    assert "compile" in str(answer.compiler)
    assert capability.ask(["numpy"], ["cpu"]) == [replace(answer, compiler=None)]


def test_an_unknown_library_is_an_answer() -> None:
    (answer,) = capability.ask(["nonsense"], ["cpu"])
    assert "nonsense" in str(answer.unsupported)


@pytest.mark.parametrize(
    ("source", "says", "timeout_s"),
    [
        (
            "raise ImportError('libfoo.so: not found')",
            "its installation is broken: ImportError: libfoo.so: not found",
            None,
        ),
        ("import os; os.abort()", "its installation is broken: ", None),
        ("import os; os._exit(0)", "its installation is broken: exit code 0", None),
        ("import time; time.sleep(60)", "it did not answer within 2 s", 2),
    ],
)
def test_a_library_that_breaks_or_hangs_is_an_answer(
    source: str, says: str, timeout_s: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (answer,) = capability.ask(["numpy"], ["cpu"], timeout_s=timeout_s)
    assert str(answer.unsupported).startswith(says)


def test_what_a_library_prints_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = "import atexit, sys; print('Welcome!'); atexit.register(print, 'Goodbye!'); atexit.register(print, file=sys.stderr)"
    (tmp_path / "sitecustomize.py").write_text(noise)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (answer,) = capability.ask(["numpy"], ["cpu"])
    assert answer.unsupported is None
    assert answer.able == ("float32", "float16")


def test_a_parameter_that_a_library_cannot_do_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {group: registry.names(group) for group in ("operator", "framework")} | {
        "operator": ["quantized_linear", "linear"]
    }
    monkeypatch.setattr(registry, "names", known.__getitem__)
    found = capability.probe("torch", "cpu", thorough=True).forms
    assert list(found) == ["quantized_linear"]
    # of the native form, whose kernel is of 4 bits, and not of `product` and `portable` in 8
    refused = found["quantized_linear"]
    assert "bits=8" in refused["native bits=8"]
    assert not {"native bits=4", "product bits=8", "portable bits=8"} & refused.keys()
