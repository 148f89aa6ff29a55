"""What is said to run is what the code has: against the worker's own way of building, the libraries, and the documentation."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mtbench.bench.worker import forms
from mtbench.catalogue import registry, support
from mtbench.catalogue.capability import Capability
from mtbench.errors import Unsupported
from mtbench.launch.commands import app
from mtbench.operators.base import Operator
from mtbench.report import pages

PAGE = Path(__file__).parents[2] / "docs/support.md"
MATRIX = support.matrix()


def of(operator: str, library: str) -> support.Support:
    (found,) = [one for one in MATRIX if (one.operator, one.library) == (operator, library)]
    return found


def test_every_operator_stands_beside_every_library() -> None:
    pairs = {(one.operator, one.library) for one in MATRIX}
    assert pairs == {(o, library) for o in registry.names("operator") for library in registry.names("framework")}
    assert len(pairs) == len(MATRIX)


class Told(Exception):
    """Says by which way the worker builds a call."""


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: f"{one.operator}-{one.library}")
def test_the_worker_builds_what_is_said(one: support.Support, monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(way: str) -> Any:
        def tell(*_: Any) -> None:
            raise Told(way)

        return tell

    operator: type[Operator] = registry.load("operator", one.operator)
    framework = object.__new__(registry.load("framework", one.library))
    framework.xp = np
    framework.forms = {name: telling("native") for name in framework.forms}
    framework.variants = {key: dict.fromkeys(forms, telling("native")) for key, forms in framework.variants.items()}
    for name in [n for n in dir(operator) if n == one.library or n.startswith(f"{one.library}_")]:
        monkeypatch.setattr(operator, name, telling("native"))
    monkeypatch.setattr(
        operator, "definition", lambda self, xp, w: telling("parts" if hasattr(xp, "forms") else "portable")()
    )
    problem = object.__new__(operator)
    for variant in ("native", "portable", *one.variants):
        with pytest.raises(Unsupported if one.how == "–" and variant == "portable" else (Told, Unsupported)) as way:
            forms.build(framework, problem, variant, None)  # type: ignore[arg-type]
        told = str(way.value) if way.type is Told else "–"
        if variant == "native":  # a definition of one piece has no parts
            assert told == one.how or (told, one.how) == ("parts", "portable")
        elif one.how != "–" and not operator.own_forms_only:
            assert told == ("portable" if variant == "portable" else "native")
    with pytest.raises(Unsupported):
        forms.build(framework, problem, "nonsense", None)  # type: ignore[arg-type]


def test_the_documentation_holds_the_matrix() -> None:
    text = PAGE.read_text()
    written = text.partition("<!-- support:begin -->")[2].partition("<!-- support:end -->")[0].strip()
    assert written == support.markdown(MATRIX), "renew it with: python -m mtbench list --support --format markdown"


def test_the_matrix_is_read_without_any_library() -> None:
    program = "import sys; from mtbench.catalogue import support; support.matrix(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "mlx", "jax", "mlx.core"} & set(loaded)


def test_a_form_that_refuses_its_parameters_is_marked() -> None:
    why = "mlx.nn.TransformerEncoderLayer has no bias"
    answers = [
        Capability("mlx", "cpu", forms={"transformer_encoder_layer": {"stock": why}}),
        Capability("mlx", "gpu", "MLX sees no GPU here"),
        Capability("torch", "cpu", dtypes={"bfloat16": "torch has no bfloat16 here"}, compiler="no C++ compiler"),
    ]
    shown = support.lines(MATRIX, answers)
    (row,) = [line for line in shown if line.startswith("transformer_encoder_layer")]
    assert "native, no stock" in row
    assert "native, stock" in row  # torch's
    assert any(why in line for line in shown)
    assert "  mlx on gpu: no; MLX sees no GPU here" in shown
    assert "  torch on cpu: float32, float16; torch has no bfloat16 here; no C++ compiler" in shown


def test_a_matrix_that_a_terminal_has_no_room_for_is_a_line_for_each_operator() -> None:
    (row,) = [line for line in support.lines(MATRIX, [], width=100) if line.startswith("softmax")]
    assert row == "softmax: jax native; mlx native, in_float32; numpy portable; torch native"
    assert support.lines(MATRIX, [], width=1_000) == support.lines(MATRIX, [])


def test_a_form_that_one_device_has_is_not_denied() -> None:
    refused = Capability("mlx", "cpu", forms={"mha": {"stock": "not on a CPU"}})
    shown = support.lines(MATRIX, [refused, Capability("mlx", "gpu")])
    assert "no stock" not in "\n".join(line for line in shown if line.startswith("mha"))


def test_the_command_writes_the_matrix_and_refuses_other_formats() -> None:
    result = CliRunner().invoke(app, ["list", "--support", "--format", "markdown"])
    assert (result.exit_code, result.output.strip()) == (0, support.markdown(MATRIX))
    assert CliRunner().invoke(app, ["list", "--support", "--format", "html"]).exit_code == 2
    assert CliRunner().invoke(app, ["list", "--format", "markdown"]).exit_code == 2  # rather than ignored


def test_a_records_reason_wins_over_the_code() -> None:
    told = {"mode": "eager", "variant": "native", "device_kind": None, "device": "gpu", "finished_at": 1}
    records = pl.DataFrame(
        [
            {
                **told,
                "operator": "softmax",
                "framework": "mlx",
                "dtype": "float32",
                "status": "unsupported",
                "reason": "no GPU",
            },
            {**told, "operator": "mha", "framework": "mlx", "dtype": "float32", "status": "ok", "reason": None},
            {
                **told,
                "operator": "mha",
                "framework": "mlx",
                "dtype": "float16",
                "status": "unsupported",
                "reason": "no half",
            },
            {**told, "operator": "relu2", "framework": "other", "dtype": "float32", "status": "ok", "reason": None},
        ],
        schema_overrides={"reason": pl.String, "device_kind": pl.String},
    )
    rows = {row["operator"]: row["cells"] for row in pages.support_rows(records)}
    assert rows["softmax"]["mlx"] == {"how": "unsupported", "measured": [], "refused": ["float32 eager gpu: no GPU"]}
    assert rows["softmax"]["torch"]["how"] == support.cell(of("softmax", "torch"))
    assert rows["mha"]["mlx"]["how"] == support.cell(of("mha", "mlx"))
    assert rows["mha"]["mlx"]["measured"] == ["eager gpu: float32"]
    assert rows["mha"]["mlx"]["refused"] == ["float16 eager gpu: no half"]
    assert rows["relu2"]["other"]["measured"] == ["eager gpu: float32"]
