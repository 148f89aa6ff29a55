"""The notebook in docs/: it is a valid, clean notebook, and its cells run in order as a kernel would run them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"

KERNEL = """
import ast, json, sys

shown, variables = {}, {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1])):
    tree = ast.parse(cell["source"], cell["id"])
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, cell["id"], "exec"), variables)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), cell["id"], "eval"), variables)
        if value is not None:
            html = getattr(value, "_repr_html_", None)
            bundle = getattr(value, "_repr_mimebundle_", None)
            shown[cell["id"]] = html() if html else str(bundle()) if bundle else repr(value)
json.dump(shown, open(sys.argv[2], "w"))
"""
"""What a kernel does with the cells, without one: the packages that run notebooks would be thirty more to install."""


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text())
    return found


def test_the_notebook_is_one_and_has_no_outputs() -> None:
    notebook = read()
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in ids)
    for cell in cells:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"execution_count", "outputs"}
            assert cell["execution_count"] is None, cell["id"]
            assert cell["outputs"] == [], cell["id"]
        assert set(cell) == wanted, cell["id"]
    linked = re.findall(r"\]\(([\w/.-]+)\)", json.dumps([cell["source"] for cell in cells]))
    assert linked
    assert [name for name in linked if not (NOTEBOOK.parent / name).exists()] == []


def test_every_cell_runs_and_shows_what_the_text_promises(tmp_path: Path) -> None:
    code = [
        {"id": cell["id"], "source": "".join(cell["source"])} for cell in read()["cells"] if cell["cell_type"] == "code"
    ]
    cells, shown_file = tmp_path / "cells.json", tmp_path / "shown.json"
    cells.write_text(json.dumps(code))
    folder = tmp_path / "run"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", KERNEL, str(cells), str(shown_file)],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(shown_file.read_text())
    assert "softmax" in shown["measure"]
    assert "numpy" in shown["measure"]
    assert "verify_error" in shown["records"]
    assert shown["rows"].count("softmax") == 2
    assert "vega" in shown["chart"]
    assert shown["read"] == "4"
    assert "float16" in shown["dtype"]
    assert "einsum" in shown["time"]
    assert "mismatch" not in shown["time"]
    assert (folder / "report" / "index.html").is_file()
