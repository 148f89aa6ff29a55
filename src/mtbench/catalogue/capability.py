"""Asks a library what it can do here, in a separate process: `python -m mtbench.catalogue.capability torch gpu`.

Libraries are heavy, may be broken, and may hang; whoever asks must neither load them nor fall with them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from mtbench.catalogue import registry
from mtbench.errors import ConfigError, Unsupported
from mtbench.frameworks.base import Description, Framework, Settings
from mtbench.operators.base import Operator

DTYPES = ("float32", "float16", "bfloat16")
DEVICES = ("cpu", "gpu")

TIMEOUT_S, THOROUGH_TIMEOUT_S = 120.0, 300.0
"""How long a library may take to answer."""

THOROUGH = "thorough"
"""The word of the command line that asks for more."""

ANSWER = "mtbench capability: "
"""What the line of the answer begins with; a library may print others before and behind it."""


@dataclass(frozen=True)
class Capability:
    """What a library said on one device: why it cannot run at all, or what it is, and why it lacks a dtype, a compiler, or a
    form: by operator, and by variant, with a dtype or a changed parameter where these matter ("native bits=8"). What is not
    named is there, as far as it was asked for."""

    library: str
    device: str
    unsupported: str | None = None
    description: Description | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    compiler: str | None = None
    forms: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def able(self) -> tuple[str, ...]:
        """The dtypes that it has."""
        return () if self.unsupported is not None else tuple(dtype for dtype in DTYPES if dtype not in self.dtypes)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Capability":
        found = cls(**json.loads(text))
        description: Any = found.description
        return found if description is None else replace(found, description=Description(**description))


def ask(
    libraries: Iterable[str],
    devices: Sequence[str] = DEVICES,
    *,
    thorough: bool = False,
    timeout_s: float | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> list[Capability]:
    """What each library says on each device, in this order. Whatever is wrong with one is an answer, too.

    `thorough`: also of its compiler, and of its forms of every operator, which takes more seconds. `told` is told how many of
    how many have answered.
    """
    limit_s = timeout_s or (THOROUGH_TIMEOUT_S if thorough else TIMEOUT_S)
    pairs = [(library, device) for library in libraries for device in devices]
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) // 2)) as pool:
        asked = [pool.submit(_ask, library, device, thorough, limit_s) for library, device in pairs]
        for done, _ in enumerate(as_completed(asked), 1):
            told(done, len(asked))
        return [answer.result() for answer in asked]


def _ask(library: str, device: str, thorough: bool, timeout_s: float) -> Capability:
    command = [sys.executable, "-m", "mtbench.catalogue.capability", library, device, *([THOROUGH] if thorough else [])]
    try:
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Capability(library, device, f"it did not answer within {timeout_s:.0f} s")
    answers = [line for line in finished.stdout.splitlines() if line.startswith(ANSWER)]
    if finished.returncode != 0 or not answers:
        last = (finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        return Capability(library, device, f"its installation is broken: {last}")
    return Capability.from_json(answers[-1].removeprefix(ANSWER))


def probe(library: str, device: str, thorough: bool = False) -> Capability:
    """What a library says on a device, asked in this process."""
    try:
        framework: Framework = registry.load("framework", library)(Settings(device))
        description = framework.describe()
    except Unsupported as reason:
        return Capability(library, device, str(reason))
    lacking = {dtype: why for dtype in DTYPES if (why := _refusal(framework.check_dtype, dtype))}
    found = Capability(library, device, description=description, dtypes=lacking)
    if not thorough:
        return found
    compiler = _refusal(framework.compile, lambda x: x)
    return replace(found, compiler=compiler, forms=_refused_forms(framework, found.able))


def _refused_forms(framework: Framework, dtypes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Why forms cannot be built, by operator and variant, for the default parameters and each other choice of one of them."""
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
    """An operator with its default parameters, and with each other choice of one of them."""
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


def _refusal(call: Callable[..., Any], *arguments: Any) -> str | None:
    try:
        call(*arguments)
    except Unsupported as why:
        return str(why)
    return None


def main(library: str, device: str, *asked: str) -> None:
    sys.stdout.write(f"\n{ANSWER}{probe(library, device, THOROUGH in asked).to_json()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
