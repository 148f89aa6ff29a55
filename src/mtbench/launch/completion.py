"""What a word on the command line can become: commands, their options, settings, their values behind commas, and folders.

A shell asks at each press of a key, so nothing is imported here that takes long: no library, no Hydra, no Typer.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from mtbench import paths
from mtbench.launch.schema import Config
from mtbench.launch.shell_scripts import SCRIPTS
from mtbench.plan.protocol import CACHES, PEAKS, STOPS
from mtbench.results.axes import CONTENDERS, PARAMS

USAGE = """\
Usage: mtbench completion bash|zsh|fish

  Prints what completes mtbench's commands, settings and values in a shell.

  bash: eval "$(mtbench completion bash)" in ~/.bashrc
  zsh:  eval "$(mtbench completion zsh)" in ~/.zshrc, behind compinit
  fish: mtbench completion fish > ~/.config/fish/completions/mtbench.fish
"""

FOLDER, FILE, RECORDS, ANY = "folder", "file", "records", "any"
FLAG = None
Kind = str | tuple[str, ...] | None
"""What stands behind an option: nothing, a path, one of some words, or anything."""

DEVICES = ("auto", "cpu", "gpu")
PARTS = ("busy_wait", "twins", "injected", "rivals", "do_bench", "twice", "cost")
STATUSES = ("failed", "crashed", "oom", "timeout", "mismatch")
EXPORTS = ("bmf", "github-action-benchmark", "pytorch", "pyperf", "csv", "markdown")

OPTIONS: dict[str, dict[str, Kind]] = {
    "which": {"--minutes": ANY, "--device": DEVICES, "--open": FLAG, "--dry-run": FLAG},
    "list": {"--support": FLAG, "--format": ("table", "markdown")},
    "report": {"--out": FOLDER, "--format": ("svg", "png"), "--open": FLAG},
    "compare": {
        "--by": ("dtype", "device", "operator", "operator.variant", PARAMS),
        "--metric": ("latency", "throughput", "device"),
        "--threshold": ANY,
        "--format": ("table", "markdown", "json", "csv"),
        "--fail-if-slower": ANY,
    },
    "merge": {"--out": FILE},
    "resume": {"--retry": STATUSES, "--only-inconclusive": FLAG, "--dry-run": FLAG},
    "status": {},
    "doctor": {"--report": FLAG},
    "selftest": {"--quick": FLAG, "--device": DEVICES, "--only": PARTS, "--out": FILE, "--simulations": FLAG},
    "import": {"--out": FOLDER},
    "export": {"--format": EXPORTS, "--out": FILE},
    "share": {"--out": FOLDER, "--yes": FLAG, "--check": FLAG},
    "site": {"--out": FOLDER, "--docs": FOLDER},
}
"""The commands beside measuring; a test compares them with what Typer knows."""

WORDS = ("run", "help", "version", "completion")
"""The words that stand first beside these."""

TAKES = {
    "which": "model", "report": RECORDS, "compare": RECORDS, "merge": RECORDS, "resume": RECORDS, "status": RECORDS,
    "import": FILE, "export": RECORDS, "share": RECORDS, "site": RECORDS,
}  # fmt: skip
"""What each is given."""

HYDRAS: dict[str, Kind] = {
    "-m": FLAG, "--dry-run": FLAG, "--help": FLAG, "--config-dir": FOLDER, "--cfg": ("job", "hydra", "all"), "--resolve": FLAG,
}  # fmt: skip
"""Options beside settings."""

BRANCHES = ("shape.", "protocol.", PARAMS, "framework.", "engine.")
"""Settings below a key that are worth a look, though a group of the same name is chosen more often."""

VALUES: dict[str, tuple[str, ...]] = {
    "device": (*DEVICES, "gpu:1"),
    "matmul_precision": ("highest", "tf32"),
    "framework.mode": ("eager", "compiled"),
    "framework.compile.mode": ("default", "reduce-overhead", "max-autotune"),
    "protocol.peaks": PEAKS,
    "protocol.compiler_cache": CACHES,
    "protocol.stop_when_hot": STOPS,
    "engine.gpus": ("all",),
    "engine.each": ("machine",),
}

FOLDERS_OF_HYDRA = ("hydra.sweep.dir", "hydra.run.dir")


def main(arguments: Sequence[str]) -> None:
    """`mtbench completion`: prints a shell's script, or for such a script the candidates of the last word."""
    if arguments and arguments[0] in SCRIPTS and len(arguments) == 1:
        print(SCRIPTS[arguments[0]], end="")
    elif arguments[:1] in (["--help"], ["-h"]):
        print(USAGE, end="")
    elif len(arguments) > 2 and arguments[0] == "--for":
        shell = arguments[1]
        words = split(arguments[2]) if shell == "bash" else arguments[2:]
        for one in candidates(words[:-1], words[-1]):
            print(one.rstrip() if shell == "fish" else one)
    else:
        _refuse(f"name a shell: {', '.join(SCRIPTS)}.")


def _refuse(message: str) -> NoReturn:
    print(f"mtbench completion: {message}", file=sys.stderr)
    sys.exit(2)


def split(line: str) -> list[str]:
    """A command line up to the cursor as words, without the program's; the last one is what is being written."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is still open
        words = line.replace('"', "").replace("'", "").split()
    return [*words[1:], ""] if line[-1:].isspace() else words[1:] or [""]


def candidates(before: Sequence[str], word: str) -> list[str]:
    """What a word can become behind others, whole; a blank at the end says that nothing follows it."""
    if not before:
        known = [f"{each} " for each in (*OPTIONS, *WORDS)]
        return [*_beginning(word, known), *_of_measuring([], word)]
    first, rest = before[0], before[1:]
    if first == "help":
        return _beginning(word, [f"{each} " for each in (*OPTIONS, "completion")])
    if first == "completion":
        return _beginning(word, [f"{each} " for each in SCRIPTS])
    if first in OPTIONS:
        return _of_command(first, rest, word)
    return _of_measuring(rest if first == "run" else before, word)


def _of_command(command: str, before: Sequence[str], word: str) -> list[str]:
    options = OPTIONS[command] | {"--help": FLAG}
    if before and (kind := options.get(before[-1])) is not None:
        return _of_kind(kind, word, several=before[-1] in ("--only", "--retry"))
    if word.startswith("-"):
        return _beginning(word, [f"{each} " for each in options if each not in before])
    taken = TAKES.get(command)
    if taken == "model":
        return _of_measuring([], word) if word.startswith("model=") else _beginning(word, ["model="])
    if command == "resume" and any(not each.startswith("-") for each in before):
        return _values(before, word) if "=" in word else _beginning(word, _below("protocol.") + _below("engine."))
    if command == "compare" and ":" in word:
        folder, _, arm = word.rpartition(":")
        return [f"{folder}:{each} " for each in _arms(Path(folder)) if each.startswith(arm)]
    return [] if taken is None else _of_kind(taken, word)


def _of_measuring(before: Sequence[str], word: str) -> list[str]:
    if before and (kind := HYDRAS.get(before[-1], HYDRAS.get({"-cd": "--config-dir"}.get(before[-1], "")))) is not None:
        return _of_kind(kind, word)
    if word.startswith("-"):
        return _beginning(word, [f"{each} " for each in HYDRAS if each not in before])
    return _values(before, word) if "=" in word else _beginning(word, _settings(before, word))


# settings and their values


def _settings(before: Sequence[str], word: str) -> list[str]:
    """Keys, each with its sign: groups, settings, and branches, which are opened when a word names them."""
    given = {each.partition("=")[0] for each in before}
    if word.startswith("hydra"):
        return [f"{key}=" for key in FOLDERS_OF_HYDRA]
    if word.startswith(PARAMS):
        return [f"{PARAMS}{name}=" for name in _parameters(before) if PARAMS + name not in given]
    branch = word.rpartition(".")[0]
    if branch:
        return [key for key in _below(f"{branch}.") if key[:-1] not in given]
    groups = [f"{'+' if name == 'experiment' else ''}{name}=" for name in _groups(before)]
    plain = [f"{each.name}=" for each in fields(Config) if not is_dataclass(each.type)]
    opened = [each for each in BRANCHES if word or each in ("shape.", "protocol.", PARAMS)]
    return [each for each in [*groups, *plain, *opened, "operator.variant="] if each.rstrip("=") not in given]


def _below(branch: str) -> list[str]:
    """The settings of a branch, such as `protocol.`."""
    node: Any = Config
    for name in branch.rstrip(".").split("."):
        node = next((each.type for each in fields(node) if each.name == name), None) if is_dataclass(node) else None
    if not is_dataclass(node):
        return []
    return [f"{branch}{each.name}{'.' if is_dataclass(each.type) else '='}" for each in fields(node)]


def _values(before: Sequence[str], word: str) -> list[str]:
    """Values of a key, behind those that stand there already."""
    key, _, text = word.partition("=")
    done, comma, last = text.rpartition(",")
    begun = f"{key}={done}{comma}"
    if key in FOLDERS_OF_HYDRA:
        return [f"{key}={each}" for each in _paths(text, folders_only=True)]
    if key == "model" and ("/" in last or last.startswith(".")):
        return [f"{begun}{each}" for each in _paths(last, folders_only=False, ending=".json")]
    known = _known(key.lstrip("+"), [*before, word], last)
    bracket = "[" if key == "contenders" and not done else ""
    taken = set(done.lstrip("[").split(","))
    return _beginning(f"{begun}{last}", [f"{begun}{bracket}{each}" for each in known if each not in taken])


def _known(key: str, words: Sequence[str], last: str) -> Sequence[str]:
    """The values that a key can have, as far as they can be named."""
    if key in VALUES:
        return VALUES[key]
    if key == "contenders":
        return [*CONTENDERS, "dtype", "operator", *(PARAMS + name for name in _parameters(words) if PARAMS in last)]
    if key == "operator.variant":
        return _variants(words)
    if "." not in key and (names := _names(key, words)):
        return names
    node: Any = Config
    for name in key.split("."):
        node = next((each.type for each in fields(node) if each.name == name), None) if is_dataclass(node) else None
    return ("true", "false") if node is bool else ()


def _chosen(group: str, words: Sequence[str]) -> list[str]:
    """The names that the words choose in a group."""
    return [name for word in words if word.startswith(f"{group}=") for name in word.partition("=")[2].split(",")]


def _parameters(words: Sequence[str]) -> list[str]:
    """The parameters of the operators that are chosen, or else of all."""
    import yaml

    found: dict[str, None] = {}
    for name in _chosen("operator", words) or _names("operator", words):
        for folder in _folders(words):
            if (file := folder / "operator" / f"{name}.yaml").is_file():
                declared = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
                found |= dict.fromkeys(map(str, (declared or {}).get("params") or ()))
    return sorted(found)


def _variants(words: Sequence[str]) -> list[str]:
    """The variants of the operators that are chosen, in the libraries that are chosen."""
    from mtbench.catalogue import registry, support

    found: dict[str, None] = {"native": None, "portable": None}
    chosen = _chosen("framework", words) or registry.names("framework")
    libraries = [one for one in registry.names("framework") if any(name.startswith(one) for name in chosen)]
    for name in set(_chosen("operator", words)) & set(registry.names("operator")):
        for library in libraries:
            operator, framework = registry.load("operator", name), registry.load("framework", library)
            found |= dict.fromkeys(support.variants(operator, library, framework))
    return list(found)


def _folders(words: Sequence[str]) -> list[Path]:
    """Where YAML stands: ours, and the user's."""
    own = [behind for word, behind in pairwise(words) if word in ("--config-dir", "-cd")]
    return [paths.conf(), *(Path(folder).expanduser() for folder in own)]


def _groups(words: Sequence[str]) -> list[str]:
    below = (path for folder in _folders(words) if folder.is_dir() for path in folder.iterdir() if path.is_dir())
    return sorted({path.name for path in below} - {"hydra"})


def _names(group: str, words: Sequence[str]) -> list[str]:
    return sorted({path.stem for folder in _folders(words) for path in (folder / group).glob("*.yaml")})


# paths


def _of_kind(kind: str | tuple[str, ...], word: str, several: bool = False) -> list[str]:
    if isinstance(kind, tuple):
        done, comma, _ = word.rpartition(",") if several else ("", "", "")
        left = [each for each in kind if each not in done.split(",")]
        return _beginning(word, [f"{done}{comma}{each}{'' if several else ' '}" for each in left])
    if kind == RECORDS:
        sweeps = _paths(f"multirun/{word}", folders_only=True) if "/" not in word else []
        return sweeps if sweeps and not word else [*_paths(word, folders_only=False, ending=".parquet"), *sweeps]
    return [] if kind == ANY else _paths(word, folders_only=kind == FOLDER)


def _paths(word: str, folders_only: bool, ending: str = "") -> list[str]:
    """The folders and files that a word begins, as it begins them; files with this ending."""
    parent, slash, name = word.rpartition("/")
    folder = Path(f"{parent}{slash}" or ".").expanduser()
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return []
    shown = [each for each in inside if each.name.startswith(name) and (name or not each.name.startswith("."))]
    named: Callable[[Path], str] = lambda each: f"{parent}{slash}{each.name}"  # noqa: E731
    folders = [f"{named(each)}/" for each in shown if each.is_dir()]
    files = [f"{named(each)} " for each in shown if each.is_file() and each.name.endswith(ending)]
    return folders if folders_only else [*folders, *files]


def _arms(folder: Path) -> list[str]:
    """The arms of a sweep: its folders below those of its operators."""
    return sorted({path.name for path in folder.glob("*/*") if path.is_dir() and not path.name.startswith(".")})


def _beginning(word: str, known: Iterable[str]) -> list[str]:
    """Those that begin with a word, whatever its case where nothing else does."""
    listed = list(known)
    found = [each for each in listed if each.startswith(word)]
    return found or [each for each in listed if re.match(re.escape(word), each, re.IGNORECASE)]
