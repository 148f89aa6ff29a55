"""One contender: a library and how it is set up, what it is called, and what its worker must be told."""

import re
from dataclasses import dataclass
from typing import Any

from mtbench import plain
from mtbench.errors import ConfigError
from mtbench.frameworks._address import parse
from mtbench.frameworks.base import AS_IT_COMES, CompileSettings, Settings
from mtbench.results.axes import PARAMS

FIRST_SETTINGS = (
    "framework", "mode", "variant", "device", "matmul_precision", "framework_file", "python", "requirement",
)  # fmt: skip
"""Those of an arm that its first version had."""

SPOKEN = 32
"""The longest value of an environment variable that names an arm as it is."""

MODEL, LONGEST_MODEL = r"[\w.+-]+([/:][\w.+-]+)?", 80
"""What a model is called, where it is named as it is."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What the matrix libraries of the CPU read once, when they are loaded; the last one is Accelerate's, on a Mac."""


@dataclass(frozen=True)
class Arm:
    """One contender: a library, how it is set up, and what else of its own it brings. One worker process serves one arm.

    `contended` holds the values of those competing axes that are the task's: dtype, operator, parameters.
    """

    framework: str
    mode: str = "eager"  # or compiled
    variant: str = "native"
    device: str = "auto"  # as asked for: auto, cpu, gpu
    matmul_precision: str = "highest"
    framework_file: str | None = None  # a user's own Python file
    python: str | None = None  # another interpreter to run under, an absolute path; None: this one
    requirement: str | None = None  # what to install into an environment of its own (PEP 508); None: run in this one
    contended: tuple[tuple[str, Any], ...] = ()
    label: str | None = None  # what the user calls it
    device_index: int | None = None  # the number of the GPU, from 0
    compile: CompileSettings = AS_IT_COMES
    threads: int | None = None  # of the library, on the CPU
    env: tuple[tuple[str, str], ...] = ()  # environment variables of its worker, sorted by name
    own: tuple[tuple[str, Any], ...] = ()  # settings that this library alone has, sorted by name

    @property
    def name(self) -> str:
        """Short and fit for a folder: what differs from the defaults is named, the rest is silent.

        Two arms of a sweep never share a name. A path may name a person, so it is named by its fingerprint.
        """
        if self.label is not None:
            return re.sub(r"[^\w.+-]", "_", self.label)
        parts = [self.framework if self.mode == "eager" else f"{self.framework}_{self.mode}"]
        parts += [] if self.variant == "native" else [self.variant]
        parts += [] if self.device == "auto" else [self.device_name.replace(":", "")]
        parts += [] if self.matmul_precision == "highest" else [self.matmul_precision]
        parts += [] if self.python is None else [f"python-{plain.fingerprint({'python': self.python}, 6)}"]
        parts += [] if self.requirement is None else [_requirement_name(self.requirement, self.framework)]
        parts += self.setup
        parts += [_axis_name(axis, value) for axis, value in self.contended]
        return "-".join(parts)

    @property
    def device_name(self) -> str:
        """As a user writes it: `gpu`, `gpu:1`."""
        return self.device if self.device_index is None else f"{self.device}:{self.device_index}"

    @property
    def setup(self) -> list[str]:
        """What was set of the compiler and the process, each in a word: `reduce-overhead`, `threads=4`, `OMP_NUM_THREADS=1`."""
        told = [] if self.compile.mode is None else [_word(self.compile.mode)]
        given = {name: value for name, value in self.compile.given.items() if name not in ("mode", "options")}
        given |= dict(self.compile.options) | ({} if self.threads is None else {"threads": self.threads})
        named = [f"{name}={_word(value)}" for name, value in (*given.items(), *self.env)]
        return [*told, *named, *(f"{name}={_own_word(name, value)}" for name, value in self.own)]

    @property
    def asked(self) -> dict[str, Any]:
        """The same in full, by name; nothing where nothing was set."""
        threads = {} if self.threads is None else {"threads": self.threads}
        parts = {"compile": self.compile.given, "env": dict(self.env), "settings": dict(self.own)}
        return threads | {name: value for name, value in parts.items() if value}

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that its worker is started with, beside ours."""
        threads = {} if self.threads is None else dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        return threads | dict(self.env)

    @property
    def library_settings(self) -> Settings:
        return Settings(self.device, self.matmul_precision, self.device_index, self.threads, self.compile, self.own)

    @property
    def settings(self) -> dict[str, Any]:
        """All but what is contended of the task. What came after the first version is told where it is set alone, so that
        names made of this stay what they were."""
        index = {} if self.device_index is None else {"device_index": self.device_index}
        label = {} if self.label is None else {"label": self.label}
        return {name: getattr(self, name) for name in FIRST_SETTINGS} | index | self.asked | label


def library_axes(arm: Arm) -> dict[str, str]:
    """The values of the axes that are the library's, in the words of a configuration."""
    framework = arm.framework if arm.mode == "eager" else f"{arm.framework}_{arm.mode}"
    versions = {"framework.python": arm.python, "framework.requirement": arm.requirement}
    asked = [f"{name}={value}" for name, value in versions.items() if value is not None] + arm.setup
    return {
        "framework": " ".join([framework, *asked]),
        "operator.variant": arm.variant,
        "device": arm.device_name,
        "matmul_precision": arm.matmul_precision,
    }


def _own_word(name: str, value: Any) -> str:
    """A setting of a library's own. A server of this machine is named by its port, and a model by its name in the forms of
    Hugging Face and Ollama, `org/model` and `model:size`, which is no path."""
    if name == "url" and (known := _local_server(str(value))) is not None:
        return known
    if name == "model" and len(str(value)) <= LONGEST_MODEL and re.fullmatch(MODEL, str(value)):
        return re.sub("[/:]", "_", str(value))
    return _word(value)


def _local_server(url: str) -> str | None:
    try:
        return parse(url).word
    except ConfigError:  # which is said where it is used
        return None


def _word(value: Any) -> str:
    """A value as part of an arm's name. One that is long, or may be a path, is named by its fingerprint."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if re.fullmatch(rf"[\w.+-]{{1,{SPOKEN}}}", text) else plain.fingerprint(text, 6)


def _axis_name(axis: str, value: Any) -> str:
    """`bfloat16`, `quantized_linear`, `bits=4`."""
    text = re.sub(r"[^\w.+-]", "_", str(value))
    return f"{axis.removeprefix(PARAMS)}={text}" if axis.startswith(PARAMS) else text


def _requirement_name(requirement: str, framework: str) -> str:
    """`mlx==0.31.0` is mlx-0.31.0, of which the framework's own name is left out; anything less plain gets a
    fingerprint, since `mlx<1` and `mlx>=1` must not be named alike, and an address may hold a person's name."""
    exact = re.fullmatch(r"([\w.-]+) *== *([\w.+!-]+)", requirement)
    if exact is None:
        package = re.match(r"[\w.-]*", requirement)
        return f"{package.group() if package else ''}-{plain.fingerprint({'requirement': requirement}, 6)}"
    package_name, version = exact.groups()
    return version if package_name == framework else f"{package_name}-{version}"
