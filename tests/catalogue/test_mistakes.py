"""Mistakes in a user's own operator: each is answered in one line that says where it is and what is meant."""

from pathlib import Path

import numpy as np
import pytest

from mtbench.bench.worker import correctness
from mtbench.bench.worker.correctness import Mismatch
from mtbench.catalogue import probe
from mtbench.errors import ConfigError
from mtbench.launch.compose import plan_of
from mtbench.launch.usage_errors import check_arguments

GOOD = '''from dataclasses import dataclass

import numpy as np

from mtbench.operators.base import Operator, array_bytes


@dataclass(frozen=True)
class Relu2(Operator):
    """max(x, 0)^2."""

    embed_dim: int = 8

    def inputs(self, rng, shape):
        return {"x": rng.standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}

    def flops(self, shape):
        return 2.0 * shape.batch_size * shape.seq_len * self.embed_dim

    def bytes_moved(self, shape, dtype):
        return array_bytes({"x": (shape.batch_size, shape.seq_len, self.embed_dim)}, dtype)

    def portable(self, xp, w, x):
        return xp.where(x > 0, x * x, 0 * x)
'''


def refused(folder: Path, before: str, after: str) -> str:
    """What is said of the operator with this changed; each file has a name of its own, since a file is loaded once."""
    assert before in GOOD
    file = folder / "relu2.py"
    file.write_text(GOOD.replace(before, after))
    with pytest.raises(ConfigError) as error:
        probe.of(str(file), "operator").try_task({}, [1, 4, None], "float32")
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(str(file))
    return said.removeprefix(str(file))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("Relu2(Operator)", "Relu2(Opertor)", ", line 9: NameError: name 'Opertor' is not defined; did you mean Operator?"),
        ("class Relu2(Operator)", "class Relu2", "it defines 0. Relu2 (line 9) does not derive from it."),
        ("import numpy as np", "import numpie", ", line 3: ModuleNotFoundError: No module named 'numpie'; did you mean numpy?"),
        ("def portable", "def portabel", ", line 9: Relu2 has no method portable (portabel is nearly so called)"),
        ("def flops(self, shape):", "def flops(self, shape)", ", line 17: expected ':'."),
        ("@dataclass(frozen=True)\n", "", ", line 8: Relu2 is no dataclass, so it has no parameters; write @dataclass"),
        ("@dataclass(frozen=True)", "@dataclass", "; write @dataclass(frozen=True)"),
        ('return {"x": rng', "return (rng", "Relu2.inputs gives an array, and not arrays by name; write return {\"x\": array}"),
        ("shape.seq_len, self.embed_dim))}", "shape.seqlen, 1))}", ", line 15: AttributeError: 'Shape'"),
    ],
    ids=["base", "no base", "import", "method", "syntax", "no dataclass", "not frozen", "array", "attribute"],
)  # fmt: skip
def test_a_mistake_in_the_file_is_answered_with_its_place(tmp_path, before, after, says):
    if before.startswith("return"):
        after, before = (
            after + ".standard_normal((shape.batch_size, shape.seq_len, self.embed_dim)))",
            before + (".standard_normal((shape.batch_size, shape.seq_len, self.embed_dim))}"),
        )
    assert says in refused(tmp_path, before, after)


def test_a_file_without_yaml_is_answered_with_what_to_write(tmp_path):
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator/relu2.py").write_text(GOOD)
    with pytest.raises(
        ConfigError, match=r"relu2\.py has no relu2\.yaml beside it; write one with the line name: relu2"
    ):
        check_arguments(["operator=relu2"], [tmp_path])


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("name: relu3\n", r"relu2\.yaml has name: relu3, and there is no relu3\.py beside it"),
        ("name: softmax\n", r"relu2\.py would never run; write name: relu2"),  # it measured softmax
        ("params: {}\n", r"operator\.name is not set; the chosen YAML must set it"),
    ],
)
def test_a_wrong_or_missing_name_is_answered_with_its_yaml(tmp_path, yaml, says):
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator/relu2.py").write_text(GOOD)
    (tmp_path / "operator/relu2.yaml").write_text(yaml)
    with pytest.raises(ConfigError, match=says):
        plan_of(["operator=relu2", "sweep=none"], tmp_path)


def test_the_whole_traceback_is_shown_where_it_is_asked_for(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(probe.TRACEBACK, "1")
    refused(tmp_path, "import numpy as np", "import numpie")
    assert "Traceback (most recent call last)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("found", "dtype", "right"),
    [
        ("float32", "float32", True), ("float64", "float32", False), ("float16", "float32", False),
        ("float64", "bfloat16", False), ("float32", "bfloat16", True), ("float16", "bfloat16", False),
        ("int64", "float16", True),
    ],
)  # fmt: skip
def test_a_result_has_the_dtype_of_its_cell(found, dtype, right):
    if right:
        correctness.check_dtype(found, dtype)
        return
    with pytest.raises(Mismatch, match=f"the result is in {found}, but the cell in {dtype}"):
        correctness.check_dtype(found, dtype)


def test_inputs_that_are_large_are_looked_at_by_the_worker():
    class Drawn:
        def inputs(self, rng, shape):
            return np.zeros(3)

        def weights(self, rng):
            return {}

    with pytest.raises(ConfigError, match=r"Drawn\.inputs gives an array, and not arrays by name"):
        correctness.draw(Drawn(), None, "float32", 0)  # type: ignore[arg-type]
