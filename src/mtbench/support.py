"""What can run: each operator in each library, in which forms, and what the libraries say of this machine.

The forms are read off the code, without any library. What only a library can say (its devices and dtypes here, a form that
refuses its parameters) is asked of it in a process of its own: `python -m mtbench.support torch cpu`.
"""

import json
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from mtbench import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.operators.base import Operator

DTYPES = ("float32", "float16", "bfloat16")
DEVICES = ("cpu", "gpu")

MEANINGS = {
    "native": "the best form that the library has for it",
    "parts": "composed as its definition says, of the library's own forms",
    "portable": "its definition, in the library's array functions",
    "–": "not at all: it runs in its own native forms alone",
}
"""How an operator runs in a library when no variant is asked for."""

PROBE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Support:
    """An operator in a library: how it runs (see MEANINGS), and the variants that it has beside."""

    operator: str
    library: str
    how: str
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a library said on one device: why it cannot run at all, or why it lacks a dtype, a compiler or a form: by
    operator, and by variant, with a dtype or a changed parameter where these matter ("native bits=8"). What is not named
    is there."""

    library: str
    device: str
    unsupported: str | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    compiler: str | None = None
    forms: dict[str, dict[str, str]] = field(default_factory=dict)


def matrix() -> list[Support]:
    """Every operator in every library, operator by operator."""
    frameworks = {name: registry.load("framework", name) for name in registry.names("framework")}
    operators = {name: registry.load("operator", name) for name in registry.names("operator")}
    return [
        Support(name, library, _how(name, operator, library, framework), operator.variants(library))
        for name, operator in operators.items()
        for library, framework in frameworks.items()
    ]


def _how(name: str, operator: type[Operator], library: str, framework: type[Framework]) -> str:
    if hasattr(operator, library):
        return "native"
    if operator.own_forms_only:
        return "–"
    if name in framework.forms:
        return "native"
    composed = operator.definition is not Operator.definition
    return "parts" if composed and framework.forms else "portable"


def ask(libraries: Iterable[str], devices: Sequence[str] = DEVICES) -> list[Answer]:
    """What each library says on each device. Whatever is wrong with one is an answer, too."""
    return [_ask(library, device) for library in libraries for device in devices]


def _ask(library: str, device: str) -> Answer:
    command = [sys.executable, "-m", "mtbench.support", library, device]
    try:
        finished = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(library, device, f"it did not answer within {PROBE_TIMEOUT_S:.0f} s")
    if finished.returncode != 0:
        last = (finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        return Answer(library, device, f"its installation is broken: {last}")
    return Answer(**json.loads(finished.stdout.splitlines()[-1]))


def answer(library: str, device: str) -> Answer:
    """What a library says on a device, asked in this process."""
    try:
        framework: Framework = registry.load("framework", library)(Settings(device))
    except Unsupported as reason:
        return Answer(library, device, str(reason))
    lacking = {dtype: why for dtype in DTYPES if (why := _refusal(framework.check_dtype, dtype))}
    return Answer(
        library,
        device,
        dtypes=lacking,
        compiler=_refusal(framework.compile, lambda x: x),
        forms=_refused_forms(framework, [dtype for dtype in DTYPES if dtype not in lacking]),
    )


def _refused_forms(framework: Framework, dtypes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Why forms cannot be built, by operator and by variant: with default parameters, and with each choice of each."""
    refused: dict[str, dict[str, str]] = {}
    for name in registry.names("operator"):
        operator: type[Operator] = registry.load("operator", name)
        native = ["native"] if hasattr(operator, framework.library) else []
        for variant in (*native, *operator.variants(framework.library)):
            found: dict[str, str] = {}
            for choice, problem in _problems(operator):
                reasons = {dtype: why for dtype in dtypes if (why := _refused_form(framework, problem, variant, dtype))}
                if len(reasons) == len(dtypes) and len(set(reasons.values())) == 1:
                    reasons = {"": reasons[dtypes[0]]}
                for dtype, why in reasons.items():
                    if why not in found.values():  # else it is the default's own reason, or that of another choice
                        found[" ".join(filter(None, (variant, choice, dtype)))] = why
            if found:
                refused.setdefault(name, {}).update(found)
    return refused


def _problems(operator: type[Operator]) -> Iterator[tuple[str, Operator]]:
    """An operator with its default parameters, and with each other value that one of them can be chosen from."""
    try:
        default = operator()
    except ConfigError:  # it has none, such as a model that the user chooses
        return
    yield "", default
    hints = get_type_hints(operator, include_extras=True)
    for parameter in fields(operator):
        hint = hints[parameter.name]
        choices = get_args(hint) if get_origin(hint) is Literal else (True, False) if hint is bool else ()
        for choice in choices:
            if choice != parameter.default:
                with suppress(ConfigError):  # not without changing another
                    yield f"{parameter.name}={_said(choice)}", replace(default, **{parameter.name: choice})


def _said(choice: Any) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _refused_form(framework: Framework, problem: Operator, variant: str, dtype: str) -> str | None:
    drawn = problem.weights(np.random.default_rng(0))
    weights = SimpleNamespace(**{name: framework.array(host, dtype) for name, host in drawn.items()})
    method = framework.library if variant == "native" else f"{framework.library}_{variant}"
    try:
        return _refusal(getattr(problem, method), weights)
    except Exception as error:  # one form that fails says nothing of the others
        return f"it fails: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _refusal(call: Any, *arguments: Any) -> str | None:
    try:
        call(*arguments)
    except Unsupported as why:
        return str(why)
    return None


def lines(supports: Sequence[Support], answers: Sequence[Answer]) -> list[str]:
    """The matrix for a terminal, and what the libraries said of this machine."""
    refused = _refused(answers)
    rows = [["operator", *_libraries(supports)]]
    rows += [[name, *(cell(one, refused) for one in of)] for name, of in by_operator(supports).items()]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    shown = ["".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown += ["", *(f"{how}: {meaning}" for how, meaning in MEANINGS.items()), "", "Here:"]
    shown += [f"  {answer.library} on {answer.device}: {_ability(answer)}" for answer in answers]
    reasons = [
        f"  {answer.library} on {answer.device}, {name} {form}: {why}"
        for answer in answers
        for name, forms in answer.forms.items()
        for form, why in forms.items()
    ]
    return shown + (["", "Not with every parameter:", *reasons] if reasons else [])


def _refused(answers: Sequence[Answer]) -> set[tuple[str, str, str]]:
    """Library, operator and variant of what none of a library's devices here can do."""
    able: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.unsupported is None:
            able.setdefault(answer.library, []).append(answer)
    return {
        (library, name, form)
        for library, found in able.items()
        for name, forms in found[0].forms.items()
        for form in forms
        if all(form in answer.forms.get(name, {}) for answer in found)
    }


def markdown(supports: Sequence[Support]) -> str:
    """The matrix as a Markdown table, operators with equal rows in one. It is the same on every machine."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, of in by_operator(supports).items():
        rows.setdefault(tuple(cell(one) for one in of), []).append(name)
    table = ["| operator | " + " | ".join(_libraries(supports)) + " |", "|---" * (1 + len(_libraries(supports))) + "|"]
    for cells, names in sorted(rows.items(), key=lambda row: row[1]):
        table.append(f"| {' '.join(f'`{name}`' for name in names)} | {' | '.join(cells)} |")
    return "\n".join(table)


def _libraries(supports: Sequence[Support]) -> list[str]:
    return list(dict.fromkeys(one.library for one in supports))


def by_operator(supports: Sequence[Support]) -> dict[str, list[Support]]:
    """The matrix by rows, with a library's place the same in each."""
    found: dict[str, list[Support]] = {}
    for one in supports:
        found.setdefault(one.operator, []).append(one)
    return found


def cell(support: Support, refused: Container[tuple[str, str, str]] = ()) -> str:
    """How an operator runs in a library, in a word, and its variants, in one each."""
    words = [support.how, *support.variants]
    return ", ".join(f"no {word}" if (support.library, support.operator, word) in refused else word for word in words)


def _ability(answer: Answer) -> str:
    if answer.unsupported is not None:
        return f"no; {answer.unsupported}"
    able = ", ".join(dtype for dtype in DTYPES if dtype not in answer.dtypes)
    return "; ".join([able, *answer.dtypes.values(), *filter(None, [answer.compiler])])


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(asdict(answer(*sys.argv[1:]))) + "\n")
