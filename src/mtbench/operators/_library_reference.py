"""The reference of an operator without a definition: what a library's form answers."""

import inspect
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtbench.plain import to_json

PROGRAM = "mtbench.bench.worker.library_reference"
"""Run, and not imported, since it imports the operators."""


def answer_of_library(self: Any, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
    """`portable` of an operator with a `reference_library`: what its form makes of these arrays in float64 on the CPU."""
    # imported here: it needs subprocess and tempfile, which would slow the controller's start
    from mtbench.operators import _kept_answers

    file = inspect.getfile(type(self))
    params = {parameter.name: getattr(self, parameter.name) for parameter in fields(self)}
    arguments = [self.key(), file, self.reference_library, to_json(params)]
    found = _kept_answers.answer(PROGRAM, arguments, Path(file).read_bytes(), vars(w), inputs)
    return found if len(found) > 1 else found[0]
