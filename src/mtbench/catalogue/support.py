"""What can run: each operator in each library, in which forms, and what the libraries say of this machine.

The forms are read off the code, without any library. What only a library can say (its devices and dtypes here, a form that
refuses its parameters) is asked of it, by `capability`.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from mtbench.catalogue import registry
from mtbench.catalogue.capability import Capability
from mtbench.frameworks.base import Framework
from mtbench.operators.base import Operator

NOWHERE = "–"

MEANINGS = {
    "native": "the library's own documented call",
    "parts": "built from native pieces",
    "portable": "the reference definition, in the library's array functions",
    NOWHERE: "does not run there",
}
"""How an operator runs in a library when no variant is asked for."""


@dataclass(frozen=True)
class Support:
    """An operator in a library: how it runs (see MEANINGS), and the variants that it has beside."""

    operator: str
    library: str
    how: str
    variants: tuple[str, ...]


def matrix() -> list[Support]:
    """Every operator in every library, operator by operator."""
    frameworks = {name: registry.load("framework", name) for name in registry.names("framework")}
    operators = {name: registry.load("operator", name) for name in registry.names("operator")}
    return [
        Support(name, library, _how(operator, library, framework), variants(operator, library, framework))
        for name, operator in operators.items()
        for library, framework in frameworks.items()
    ]


def variants(operator: type[Operator], library: str, framework: type[Framework]) -> tuple[str, ...]:
    """The variants of an operator in a library, beside native and portable: the operator's, and the framework's own."""
    return (*operator.variants(library), *(operator.own_form(framework.variants) or ()))


def _how(operator: type[Operator], library: str, framework: type[Framework]) -> str:
    if hasattr(operator, library):
        return "native"
    if operator.own_forms_only or framework.own_forms_only:
        return NOWHERE
    if operator.own_form(framework.forms) is not None:
        return "native"
    composed = operator.definition is not Operator.definition
    return "parts" if composed and framework.forms else "portable"


def lines(supports: Sequence[Support], answers: Sequence[Capability], width: int | None = None) -> list[str]:
    """The matrix for a terminal, and what the libraries said of this machine. A matrix wider than `width` becomes a line for
    each operator, to be wrapped."""
    refused = _refused(answers)
    rows = [["operator", *_libraries(supports)]]
    rows += [[name, *(cell(one, refused) for one in of)] for name, of in by_operator(supports).items()]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    shown = ["".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if width is not None and max(map(len, shown)) > width:
        shown = [_line(name, zip(rows[0][1:], cells, strict=True)) for name, *cells in rows[1:]]
    shown += ["", *(f"{how}: {meaning}" for how, meaning in MEANINGS.items()), "", "Here:"]
    shown += [f"  {answer.library} on {answer.device}: {_ability(answer)}" for answer in answers]
    reasons = [
        f"  {answer.library} on {answer.device}, {name} {form}: {why}"
        for answer in answers
        for name, forms in answer.forms.items()
        for form, why in forms.items()
    ]
    return shown + (["", "Not with every parameter:", *reasons] if reasons else [])


def _line(operator: str, cells: Iterable[tuple[str, str]]) -> str:
    """An operator's row in words, without the libraries that lack it."""
    return f"{operator}: " + "; ".join(f"{library} {how}" for library, how in cells if how != NOWHERE)


def _refused(answers: Sequence[Capability]) -> set[tuple[str, str, str]]:
    """Library, operator and variant of each form that no device of the library can run here."""
    able: dict[str, list[Capability]] = {}
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


def _ability(answer: Capability) -> str:
    if answer.unsupported is not None:
        return f"no; {answer.unsupported}"
    said = [", ".join(answer.able), *answer.dtypes.values(), *filter(None, [answer.compiler])]
    return "; ".join(each.rstrip(".") for each in said)
